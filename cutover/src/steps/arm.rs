//! The reverse stream: made, proven, and looked at.

use std::time::Duration;

use futures_util::future::try_join_all;
use pointsman_catalog::Server;
use serde_json::json;

use super::{
    Failure, Problem, Proof, Run, fence,
    left_out::{left_out, not_carried},
    outcome::with_learned,
    sessions::Both,
    shut, slots, standing,
};
use crate::{
    Lsn,
    machine::Side,
    migration::{Coverage, Learned, Migration},
    ports::{
        AccessRules, Armed, Clock, ControlledServer, FenceRecord, ProviderError, ReverseSlot,
        SlotProgress, SubscriptionSpec,
    },
};

/// Arms the source and proves the stream: a value written on the target is read on the
/// source, in every database.
pub(super) async fn run(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let stream = run.migration.facts.stream()?;
    if stream.coverage == Coverage::Incomplete {
        return Err(without_stream(run).await?);
    }
    let record = fence::record(run, Side::Source)?;
    let publisher = run.ports.catalog.server(&run.migration.target).await?;
    let both = run.both().await?;
    standing::of_a_bake(run).await?;
    if run.migration.facts.admits_strangers() {
        return Err(shut_first(run).await?);
    }
    subscribe(run, &both, &record, publisher).await
}

/// A source that a rollback let somebody in to is closed. What others did there before the rollback is
/// for the look that begins the next try.
async fn shut_first(run: &mut Run<'_>) -> Result<Failure, Failure> {
    let shut = shut::source(run).await?;
    let failure = match &shut.gap {
        Some(gap) => broken(gap),
        None => Failure::condition(format!(
            "{} was let in to by a rollback that was undone; it is closed again, and looked at next",
            run.migration.source
        )),
    };
    Ok(shut.learned.into_iter().fold(failure, Failure::learning))
}

/// There will be no stream. The slot by which the source fed the target goes all the same; as long as
/// the source does not answer, that is tried again.
async fn without_stream(run: &mut Run<'_>) -> Result<Failure, Failure> {
    let source = run.source().await?;
    let dropped = slots::drop_standby_slot(run, &source).await;
    let stream = run.migration.facts.stream()?;
    let written = "the target was written before its slots were made: the reverse stream would miss \
                   those writes";
    let gap = stream.gap.as_deref().unwrap_or(written);
    match dropped.map_err(Failure::from) {
        Ok(()) => Ok(broken(gap)),
        Err(failure) if failure.is_unanswered() => Err(failure),
        Err(failure) => Ok(broken(&format!(
            "{gap}; the slot by which {} fed its standby is left there, to be dropped by hand: {}",
            source.name(),
            failure.message
        ))),
    }
}

async fn subscribe(
    run: &Run<'_>,
    both: &Both,
    record: &FenceRecord,
    publisher: Server,
) -> Result<Proof, Failure> {
    let stream = run.migration.facts.stream()?;
    let wait = run.budgets.source.end_sessions;
    slots::drop_standby_slot(run, &both.source).await?;
    let publishing = both.target.reverse_publisher()?;
    if let Some(missing) = named(&publishing.missing(&stream.slots).await?) {
        return Err(broken(&missing));
    }
    keep_out(&both.source, record, wait).await?;
    let subscriptions: Vec<_> = stream
        .slots
        .iter()
        .map(|slot| SubscriptionSpec {
            datname: slot.datname.clone(),
            slot: slot.slot.clone(),
            publisher: publisher.clone(),
        })
        .collect();
    let armed = both
        .source
        .reverse_subscriber()?
        .arm(&subscriptions)
        .await?;
    let proven = prove(run, both, &stream.slots, &armed).await;
    // Also after a failed proof the roles that lost LOGIN must be on record: the undo gives it back.
    with_learned(proven, Learned::Armed(armed))
}

async fn prove(
    run: &Run<'_>,
    both: &Both,
    slots: &[ReverseSlot],
    armed: &Armed,
) -> Result<Proof, Failure> {
    let moving = run.migration.moving();
    both.target.sessions()?.open_databases(&moving).await?;
    let began = run.clock().monotonic();
    let value = i64::try_from(run.clock().now().0).unwrap_or(i64::MAX);
    let mut proofs = Vec::with_capacity(moving.len());
    for datname in &moving {
        let catch_up = run.budgets.source.catch_up;
        proofs.push(prove_one(run.clock(), both, datname, value, catch_up));
    }
    try_join_all(proofs).await?;
    let progress = both
        .target
        .reverse_publisher()?
        .slot_progress(slots)
        .await?;
    let round_trip = run.clock().elapsed(began);
    if let Some(gap) = not_carried(&left_out(run.migration, &both.target).await?) {
        return Err(broken(&gap));
    }
    let confirmed = confirmed_by_all(slots, &progress);
    let proof = Proof::new(
        format!(
            "a row written on {} arrived on {} in each of {} databases{}{}",
            both.target.name(),
            both.source.name(),
            moving.len(),
            dropped_slot(run.migration),
            still_admitted(armed)
        ),
        json!({
            "slots": progress,
            "nologin_roles": armed.nologin_roles,
            "still_admitted": armed.still_admitted,
            "round_trip_us": u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX),
        }),
    );
    Ok(Proof { confirmed, ..proof })
}

/// Who can log in to the closed source although nobody should.
pub(crate) fn still_admitted(armed: &Armed) -> String {
    let roles = &armed.still_admitted;
    if roles.is_empty() {
        return String::new();
    }
    format!(
        "; {} can log in to the source, where nothing stops their writes: the control role may not keep them \
         out, or a standby streams as them",
        roles.join(", ")
    )
}

/// Whoever rebuilds the target as a standby needs the slot again.
fn dropped_slot(migration: &Migration) -> String {
    let Migration { source, target, .. } = migration;
    migration
        .facts
        .standby_slot()
        .map_or_else(String::new, |slot| {
            format!("; slot {slot}, which fed {target} as a standby, is dropped on {source}")
        })
}

/// Says which slots are missing, if any are.
fn named(missing: &[String]) -> Option<String> {
    let missing = missing.join("; ");
    (!missing.is_empty()).then(|| format!("{missing}, and what had not been delivered with it"))
}

/// No attempt can make this stream whole again.
fn broken(message: &str) -> Failure {
    Failure::new(Problem::StreamBroken, message)
}

/// Before the databases open for the apply workers, everybody else must be refused by
/// `pg_hba.conf`, in its own words. A rollback that was undone late has put the former rules
/// back.
async fn keep_out(
    source: &ControlledServer,
    record: &FenceRecord,
    wait: Duration,
) -> Result<(), ProviderError> {
    match source
        .fence()?
        .await_access_rules(AccessRules::Fenced, wait)
        .await
    {
        Err(ProviderError::TimedOut { .. }) => {
            source.fence()?.close(record).await?;
            source
                .fence()?
                .await_access_rules(AccessRules::Fenced, wait)
                .await
        }
        outcome => outcome,
    }
}

async fn prove_one(
    clock: &dyn Clock,
    both: &Both,
    datname: &str,
    value: i64,
    catch_up: Duration,
) -> Result<(), Failure> {
    let wait = RESTART + catch_up;
    let deadline = clock.deadline(wait);
    both.target
        .probe_table()?
        .write_probe(datname, value)
        .await?;
    while both.source.probe_table()?.read_probe(datname).await? != Some(value) {
        if deadline.has_passed() {
            return Err(Failure::from(ProviderError::TimedOut {
                server: both.source.name().clone(),
                what: format!("the reverse stream's first row in {datname}"),
                waited: wait,
                found: "it has not arrived".to_owned(),
            }));
        }
        clock.sleep(POLL).await;
    }
    Ok(())
}

/// The state of a proven stream, read on the publisher.
#[derive(Clone, Debug)]
pub(crate) struct StreamHealth {
    pub(crate) streaming: bool,
    /// Every slot is there and streams, and no write was missed so far.
    pub(crate) whole: bool,
    /// Up to where the source has everything, where every slot says so.
    pub(crate) confirmed: Option<Lsn>,
    /// Bytes of WAL that the subscriber has not confirmed.
    pub(crate) behind_bytes: u64,
    /// What it leaves out, in words.
    pub(crate) gap: Option<String>,
}

/// Up to where the source has everything, where every slot says so.
fn confirmed_by_all(slots: &[ReverseSlot], progress: &[SlotProgress]) -> Option<Lsn> {
    let confirmed = progress.iter().map(|slot| slot.confirmed).min();
    confirmed.filter(|_| progress.len() == slots.len())
}

/// Looks at the reverse stream.
pub(crate) async fn stream_health(run: &mut Run<'_>) -> Result<StreamHealth, Failure> {
    let stream = run.migration.facts.stream()?;
    let slots = &stream.slots;
    let target = run.target().await?;
    let publishing = target.reverse_publisher()?;
    let progress = publishing.slot_progress(slots).await?;
    let missing = publishing.missing(slots).await?;
    let gap = match (stream.coverage, named(&missing)) {
        (Coverage::Complete, Some(missing)) => Some(missing),
        (Coverage::Complete, None) => not_carried(&left_out(run.migration, &target).await?),
        (Coverage::Incomplete, _) => stream.gap.clone(),
    };
    let streaming = progress.len() == slots.len() && progress.iter().all(|slot| slot.streaming);
    Ok(StreamHealth {
        confirmed: confirmed_by_all(slots, &progress),
        streaming,
        whole: streaming && stream.coverage == Coverage::Complete,
        behind_bytes: progress
            .iter()
            .map(SlotProgress::behind_bytes)
            .max()
            .unwrap_or_default(),
        gap,
    })
}

/// An apply worker starts within milliseconds; one that failed is restarted after
/// `wal_retrieve_retry_interval`, 5 s by default.
const RESTART: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
