//! New connections are parked in the sidecars.

use std::{sync::Arc, time::Duration};

use pointsman_catalog::UnixMillis;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Failure, Proof, Run, routes::convergence_words};
use crate::{
    machine::Direction,
    ports::{Barrier, ControlledServer},
};

pub(super) async fn run(run: &mut Run<'_>, direction: Direction) -> Result<Proof, Failure> {
    remember_readers(run, direction).await?;
    let clock = leaving(run, direction).await?.observe().await?.clock;
    let since = UnixMillis::now();
    let until = since.plus(run.settings.hold_budget);
    run.migration.facts.hold_until = Some(until);
    let published = Instant::now();
    let publication = run.publish_hold(direction, since, until).await?;
    let barrier = match direction {
        Direction::Forward => Barrier::AllRegistered,
        // On the way back whoever has not acknowledged is named, and the switch goes on:
        // its clients get errors instead of waiting, and the fence protects the data.
        Direction::Reverse => Barrier::AllConnected,
    };
    let deadline = run.settings.barrier_deadline;
    let convergence = run
        .ports
        .data_plane
        .converge(&publication, barrier, deadline)
        .await;
    let barrier_took = published.elapsed();
    if direction == Direction::Forward && !convergence.reached {
        return Err(Failure::new(format!(
            "not every registered sidecar acknowledged the hold within {deadline:?}: {}",
            convergence_words(&convergence)
        )));
    }
    // An acknowledgement says that a sidecar has accepted the hold, not that its workers
    // use it yet; the fence is the proof, this wait only spares clients an error.
    sleep(run.settings.settle).await;
    let left = await_quiet(run, direction, clock).await?;
    let reported = run.reported(direction);
    Ok(Proof::new(
        format!(
            "{}; on {} by their word: {reported}",
            convergence_words(&convergence),
            run.leaving(direction)
        ),
        json!({
            "sequence": publication.sequence,
            "epochs": publication.epochs,
            "barrier_us": u64::try_from(barrier_took.as_micros()).unwrap_or(u64::MAX),
            "convergence": convergence,
            "hold_since_ms": since,
            "hold_until_ms": until,
            "newcomers_left": left,
            "sessions_reported": reported,
        }),
    ))
}

/// The reader routes of before the first hold, for whatever way back.
async fn remember_readers(run: &mut Run<'_>, direction: Direction) -> Result<(), Failure> {
    if direction == Direction::Reverse {
        return Ok(());
    }
    if std::mem::take(&mut run.migration.facts.readers_wait) {
        return Ok(());
    }
    let routes = run.ports.catalog.routes().await?;
    run.migration.facts.former_readers = run
        .migration
        .databases
        .iter()
        .filter_map(|database| {
            let routes = routes.get(&database.name)?;
            Some((
                database.name.clone(),
                super::routes::known_servers(&routes.reader),
            ))
        })
        .collect();
    Ok(())
}

/// Waits until every connection that was made at the hold's very beginning has ended by
/// itself, at most `quiet`. Returns how many are left.
async fn await_quiet(
    run: &mut Run<'_>,
    direction: Direction,
    since: UnixMillis,
) -> Result<u64, Failure> {
    let deadline = Instant::now() + run.settings.quiet;
    let server = leaving(run, direction).await?;
    loop {
        let left = server.sessions()?.newcomers(since).await?;
        if left == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        sleep(POLL).await;
    }
}

async fn leaving(
    run: &mut Run<'_>,
    direction: Direction,
) -> Result<Arc<ControlledServer>, Failure> {
    match direction {
        Direction::Forward => run.source().await,
        Direction::Reverse => run.target().await,
    }
}

/// A look costs the server some 0.3 ms.
const POLL: Duration = Duration::from_millis(2);
