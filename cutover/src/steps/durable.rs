//! Commits on the target of a bake wait for the source, where the migration wants that.

use std::time::Duration;

use super::{Failure, Run, synchronous::replicates};
use crate::{
    Lsn,
    migration::Learned,
    ports::{ControlledServer, ProviderError, SlotProgress, StandbysSet, Synchrony},
};

/// What a look came to.
#[derive(Debug)]
pub(crate) enum DurableLook {
    /// Commits do not wait, and could: the stream is close behind. This is what was set before.
    CouldWait(StandbysSet),
    /// They do not wait, and this is why.
    CannotWait(String),
    /// They are made to wait.
    Wait {
        synchrony: Synchrony,
        /// Up to where the source has everything.
        confirmed: Lsn,
    },
}

/// Looks at the stream, and at the setting.
pub(crate) async fn look(run: &mut Run<'_>) -> Result<DurableLook, Failure> {
    let target = run.target().await?;
    let slots = &run.migration.facts.stream()?.slots;
    let progress = target.reverse_publisher()?.slot_progress(slots).await?;
    let is_set = run.migration.facts.before_durable().is_some();
    let (source, name) = (&run.migration.source, target.name());
    let all = !slots.is_empty() && progress.len() == slots.len();
    let confirmed = progress.iter().map(|slot| slot.confirmed).min();
    if is_set {
        return Ok(DurableLook::Wait {
            synchrony: target.replication()?.synchrony(&standbys(run)?).await?,
            confirmed: confirmed.filter(|_| all).unwrap_or_default(),
        });
    }
    if !all || progress.iter().any(|slot| !slot.streaming) {
        let why = format!("the reverse stream to {source} does not stream");
        return Ok(DurableLook::CannotWait(why));
    }
    let behind = progress.iter().map(SlotProgress::behind_bytes).max();
    if let Some(behind) = behind.filter(|&behind| behind > CLOSE) {
        let why = format!("{source} is {behind} bytes of WAL behind");
        return Ok(DurableLook::CannotWait(why));
    }
    let names = target.replication()?.synchronous().await?.names;
    if !names.trim().is_empty() {
        let why = format!(
            "commits on {name} wait for others already (synchronous_standby_names is '{names}'), and cannot wait \
             for both"
        );
        return Ok(DurableLook::CannotWait(why));
    }
    Ok(DurableLook::CouldWait(
        target.replication()?.standbys_set().await?,
    ))
}

/// Brings what was written on the target so far to its disk. Returns where that ends: the source gets
/// there also where nobody commits any more.
pub(crate) async fn flush(run: &mut Run<'_>) -> Result<Lsn, Failure> {
    Ok(run.target().await?.wal_proof()?.flush().await?)
}

/// Makes commits wait for the source. What was set before is on record.
pub(crate) async fn begin(run: &mut Run<'_>) -> Result<(), Failure> {
    let names = standbys(run)?;
    let target = run.target().await?;
    let list = names.join(", ");
    Ok(replicates(run, &target, &format!("FIRST {} ({list})", names.len())).await?)
}

/// Commits wait for the source no more, and the setting is what it was.
pub(crate) async fn end(run: &mut Run<'_>) -> Result<Option<Learned>, Failure> {
    if run.migration.facts.before_durable().is_none() {
        return Ok(None);
    }
    let target = run.target().await?;
    put_back(run, &target).await
}

/// The same on a target whose session is there.
pub(super) async fn put_back(
    run: &Run<'_>,
    target: &ControlledServer,
) -> Result<Option<Learned>, Failure> {
    let Some(former) = run.migration.facts.before_durable() else {
        return Ok(None);
    };
    let replication = target.replication()?;
    replication.put_standbys_back(former).await?;
    let waited_for = format!("FIRST {} (", standbys(run)?.len());
    let deadline = run.clock().deadline(RELOAD);
    loop {
        let names = replication.synchronous().await?.names;
        if !names.starts_with(&waited_for) {
            return Ok(Some(Learned::Durable(None)));
        }
        if deadline.has_passed() {
            return Err(Failure::from(ProviderError::TimedOut {
                server: target.name().clone(),
                what: "the end of the wait for the source".to_owned(),
                waited: RELOAD,
                found: format!("synchronous_standby_names is '{names}'"),
            }));
        }
        run.clock().sleep(POLL).await;
    }
}

/// One name for each subscription: one that several share would count when one of them confirms.
fn standbys(run: &Run<'_>) -> Result<Vec<String>, Failure> {
    let slots = &run.migration.facts.stream()?.slots;
    Ok(slots.iter().map(|slot| slot.slot.clone()).collect())
}

/// So much is confirmed within moments.
const CLOSE: u64 = 1 << 20;
/// How long a reload may take.
const RELOAD: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
