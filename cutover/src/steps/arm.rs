//! The reverse stream: made, proven, and looked at.

use std::time::Duration;

use futures_util::future::try_join_all;
use pointsman_catalog::UnixMillis;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Failure, Proof, Run, fence, sessions::Both};
use crate::{
    machine::Event,
    ports::{
        AccessRules, ControlledServer, FenceRecord, ProviderError, SlotProgress, SubscriptionSpec,
    },
};

/// Arms the source and proves the stream: a value written on the target is read on the
/// source, in every database.
pub(super) async fn run(run: &mut Run<'_>) -> Result<Proof, Failure> {
    let facts = run.migration.facts.clone();
    if !facts.stream_complete {
        return Err(broken(
            "the target was written before its slots were made: the reverse stream would miss \
             those writes",
        ));
    }
    let moving = run.migration.moving();
    let wait = run.settings.end_sessions;
    let record = fence::record(run.migration, true);
    let publisher = run.ports.catalog.server(&run.migration.target).await?;
    let publisher = publisher.replication.unwrap_or(publisher.control);
    let both = run.both().await?;
    // Nobody reads the former standby's slot any more; kept, it would pin WAL until the
    // source's disk is full.
    if let Some(slot) = both.target.replication()?.standby_link().await?.slot {
        both.source.replication()?.cut_off_standby(&slot).await?;
    }
    if both
        .target
        .reverse_publisher()?
        .slot_progress(&facts.slots)
        .await?
        .len()
        < facts.slots.len()
    {
        return Err(broken(
            "a slot of the reverse stream is gone, and what it had not delivered with it",
        ));
    }
    keep_out(&*both.source, &record, wait).await?;
    let subscriptions: Vec<_> = facts
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
    both.target.sessions()?.open_databases(&moving).await?;
    let proven = Instant::now();
    prove(&both, &moving).await?;
    let progress = both
        .target
        .reverse_publisher()?
        .slot_progress(&facts.slots)
        .await?;
    let words = format!(
        "a row written on {} arrived on {} in each of {} databases",
        both.target.name(),
        both.source.name(),
        moving.len()
    );
    // A later arming finds the roles without LOGIN already: keep what the first one took.
    let known = run.migration.facts.armed.get_or_insert_default();
    for role in &armed.nologin_roles {
        if !known.nologin_roles.contains(role) {
            known.nologin_roles.push(role.clone());
        }
    }
    Ok(Proof::new(
        words,
        json!({
            "slots": progress,
            "nologin_roles": armed.nologin_roles,
            "round_trip_us": u64::try_from(proven.elapsed().as_micros()).unwrap_or(u64::MAX),
        }),
    ))
}

/// No attempt can make this stream whole again.
fn broken(words: &str) -> Failure {
    Failure {
        event: Event::ReverseStreamBroke,
        ..Failure::new(words)
    }
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

async fn prove(both: &Both, databases: &[String]) -> Result<(), Failure> {
    let value = i64::try_from(UnixMillis::now().0).unwrap_or(i64::MAX);
    let mut proofs = Vec::with_capacity(databases.len());
    for datname in databases {
        proofs.push(prove_one(both, datname, value));
    }
    try_join_all(proofs).await?;
    Ok(())
}

async fn prove_one(both: &Both, datname: &str, value: i64) -> Result<(), Failure> {
    let deadline = Instant::now() + ARRIVAL;
    both.target
        .probe_table()?
        .write_probe(datname, value)
        .await?;
    while both.source.probe_table()?.read_probe(datname).await? != Some(value) {
        if Instant::now() >= deadline {
            return Err(Failure::from(ProviderError::TimedOut {
                server: both.source.name().clone(),
                what: format!("the reverse stream's first row in {datname}"),
                waited: ARRIVAL,
                found: "it has not arrived".to_owned(),
            }));
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// The state of a proven stream, read on the publisher.
#[derive(Clone, Debug)]
pub(crate) struct StreamHealth {
    pub(crate) streaming: bool,
    /// Bytes of WAL that the subscriber has not confirmed.
    pub(crate) behind_bytes: u64,
}

/// Looks at the reverse stream.
pub(crate) async fn stream_health(run: &mut Run<'_>) -> Result<StreamHealth, Failure> {
    let slots = run.migration.facts.slots.clone();
    let target = run.target().await?;
    let progress = target.reverse_publisher()?.slot_progress(&slots).await?;
    let behind = |slot: &SlotProgress| slot.position.0.saturating_sub(slot.confirmed.0);
    Ok(StreamHealth {
        streaming: progress.len() == slots.len() && progress.iter().all(|slot| slot.streaming),
        behind_bytes: progress.iter().map(behind).max().unwrap_or_default(),
    })
}

/// An apply worker starts within milliseconds; one that failed is restarted after
/// `wal_retrieve_retry_interval`, 5 s by default.
const ARRIVAL: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(5);
