//! New connections are parked in the sidecars.

use std::collections::BTreeMap;

use pointsman_catalog::{DatabaseName, ServerName, UnixMillis};
use serde_json::json;

use super::{
    Failure, Proof, Run, drain,
    outcome::with_learned,
    routes::{HoldWindow, convergence_message},
};
use crate::{
    machine::{Direction, ReaderRoutes},
    migration::Learned,
    ports::BarrierPolicy,
};

pub(super) async fn run(run: &mut Run<'_>, direction: Direction) -> Result<Proof, Failure> {
    let readers = readers_to_remember(run, direction).await?;
    let server_clock = run.leaving(direction).await?.observe().await?.clock;
    let since = run.clock().now();
    let window = HoldWindow {
        since,
        until: since.plus(run.settings.hold_budget),
    };
    let held = hold(run, direction, window, server_clock).await;
    let held = with_learned(
        held,
        Learned::Held {
            until: window.until,
        },
    );
    match readers {
        Some(readers) => with_learned(held, Learned::FormerReaders(readers)),
        None => held,
    }
}

async fn hold(
    run: &mut Run<'_>,
    direction: Direction,
    window: HoldWindow,
    server_clock: UnixMillis,
) -> Result<Proof, Failure> {
    let published = run.clock().monotonic();
    let publication = run.routes().hold(direction, window).await?;
    let barrier = match direction {
        Direction::Forward => BarrierPolicy::AllRegistered,
        // On the way back a sidecar that has not acknowledged is named, and the switch goes on:
        // its clients get errors instead of waiting, and the fence protects the data.
        Direction::Reverse => BarrierPolicy::AllConnected,
    };
    let deadline = run.settings.barrier_deadline;
    let convergence = run
        .ports
        .data_plane
        .converge(&publication, barrier, deadline)
        .await;
    let acknowledged = run.clock().monotonic();
    let barrier_took = run.clock().elapsed(published);
    if direction == Direction::Forward && !convergence.reached {
        return Err(Failure::condition(format!(
            "not every registered sidecar acknowledged the hold within {deadline:?}: {}",
            convergence_message(&convergence)
        )));
    }
    // An acknowledgement says that a sidecar has accepted the hold, not that its workers
    // use it yet; the fence is the proof, this wait only spares clients an error.
    run.clock().sleep(run.settings.settle).await;
    let drained = drain::run(run, direction, server_clock, acknowledged).await?;
    let reported = run.routes().reported(direction);
    Ok(Proof::new(
        format!(
            "{}; {drained}on {} they report {reported}",
            convergence_message(&convergence),
            run.routes().leaving(direction)
        ),
        json!({
            "sequence": publication.sequence,
            "epochs": publication.epochs,
            "barrier_us": u64::try_from(barrier_took.as_micros()).unwrap_or(u64::MAX),
            "convergence": convergence,
            "hold_since_ms": window.since,
            "hold_until_ms": window.until,
            "drained": drained,
            "sessions_reported": reported,
        }),
    ))
}

/// Reader routes as they are before the first hold, for undo and rollback. Readers that an
/// undo moved are not where they belong, so what was remembered of them then stands.
async fn readers_to_remember(
    run: &Run<'_>,
    direction: Direction,
) -> Result<Option<BTreeMap<DatabaseName, Vec<ServerName>>>, Failure> {
    let first = match (direction, run.migration.machine.readers()) {
        (Direction::Forward, ReaderRoutes::Settled) => true,
        (Direction::Forward, ReaderRoutes::Moved) | (Direction::Reverse, _) => false,
    };
    if !first {
        return Ok(None);
    }
    let routes = run.ports.catalog.routes().await?;
    let databases = run.migration.databases.iter();
    let readers = databases.filter_map(|database| {
        let routes = routes.get(&database.name)?;
        Some((database.name.clone(), routes.reader.origin().to_vec()))
    });
    Ok(Some(readers.collect()))
}
