//! Slots that keep WAL: those of the reverse stream on the target that serves, and the one by which
//! the source fed it.

use std::time::Duration;

use super::{Failure, Problem, Run, catch_up::delivered_up_to};
use crate::{
    Lsn,
    migration::Learned,
    ports::{ControlledServer, ProviderError, SlotProgress},
};

/// What a look at the slots of the reverse stream came to.
#[derive(Debug)]
pub(crate) enum SlotLook {
    /// They keep little, or are not there.
    Little,
    /// They keep much, in words.
    Much(String),
    /// They keep more than they may: they are given up.
    TooMuch(GivenUp),
    /// They were given up before. Their names, where they were there still: they are dropped now.
    Dropped(Vec<String>),
}

/// The end of the lossless way back.
#[derive(Debug)]
pub(crate) struct GivenUp {
    pub(crate) why: String,
    /// Up to where the source has everything.
    delivered: Lsn,
    /// Committed transactions that the source lacks, where they can be counted in time.
    pub(crate) at_risk: Option<u64>,
}

impl GivenUp {
    /// What it adds to the record. It is there before a slot is dropped.
    pub(crate) fn learned(&self) -> Learned {
        Learned::SlotsGivenUp {
            why: self.why.clone(),
            delivered: self.delivered,
        }
    }
}

/// Looks how much WAL the slots of the reverse stream keep on the target. The disk of the server that
/// serves is worth more than the way back from it.
pub(crate) async fn look(run: &mut Run<'_>) -> Result<SlotLook, Failure> {
    let clock = run.clock();
    let looked = clock.timeout(ANSWER, look_at(run)).await;
    let looked = looked.unwrap_or_else(|_elapsed| {
        let message = format!("the slots were not looked at within {ANSWER:?}");
        Err(Failure::new(Problem::Unanswered, message))
    });
    if looked.as_ref().is_err_and(Failure::is_unanswered) {
        run.sessions.forget_target();
    }
    looked
}

async fn look_at(run: &mut Run<'_>) -> Result<SlotLook, Failure> {
    let stream = run.migration.facts.stream()?;
    let target = run.target().await?;
    let progress = target
        .reverse_publisher()?
        .slot_progress(&stream.slots)
        .await?;
    if stream.given_up_at.is_some() {
        let names: Vec<_> = progress.into_iter().map(|slot| slot.slot).collect();
        target
            .reverse_publisher()?
            .drop_slots(&stream.slots)
            .await?;
        return Ok(SlotLook::Dropped(names));
    }
    let kept = progress.iter().map(SlotProgress::kept_bytes).max();
    let kept = kept.unwrap_or_default();
    let limits = run.settings;
    if kept > limits.slots_drop {
        return Ok(SlotLook::TooMuch(
            give_up(run, &target, &progress, kept).await?,
        ));
    }
    if kept > limits.slots_warn {
        return Ok(SlotLook::Much(format!(
            "the slots of the reverse stream keep {} of WAL on {} (slots.warn_mib is {}); above {} they are \
             dropped, and from then on going back loses writes: mend the stream, or complete",
            mib(kept),
            target.name(),
            mib(limits.slots_warn),
            mib(limits.slots_drop)
        )));
    }
    Ok(SlotLook::Little)
}

async fn give_up(
    run: &Run<'_>,
    target: &ControlledServer,
    progress: &[SlotProgress],
    kept: u64,
) -> Result<GivenUp, Failure> {
    let facts = &run.migration.facts;
    let delivered = delivered_up_to(facts.promotion()?, facts.stream()?, progress);
    let counting = target.wal_proof()?.user_commits(delivered, facts.exempt());
    // A count that takes long is not waited for: the disk fills up meanwhile.
    let at_risk = match run.clock().timeout(COUNT, counting).await {
        Ok(counted) => counted.ok().flatten(),
        Err(_elapsed) => None,
    };
    let lacks = at_risk.map_or_else(
        || "what was committed later was not counted".to_owned(),
        |count| format!("{count} transactions were committed later"),
    );
    let names: Vec<_> = progress.iter().map(|slot| slot.slot.as_str()).collect();
    let why = format!(
        "the slots {} kept {} of WAL on {}, more than slots.drop_mib, {}: they are dropped; {} has \
         everything up to {delivered}, {lacks}",
        names.join(", "),
        mib(kept),
        target.name(),
        mib(run.settings.slots_drop),
        run.migration.source
    );
    Ok(GivenUp {
        why,
        delivered,
        at_risk,
    })
}

/// Drops the slot by which the source fed its standby, the target: nobody reads it any more, and it
/// would keep WAL until the source's disk is full.
pub(super) async fn drop_standby_slot(
    run: &Run<'_>,
    source: &ControlledServer,
) -> Result<(), ProviderError> {
    match run.migration.facts.standby_slot() {
        Some(slot) => source.replication()?.cut_off_standby(slot).await,
        None => Ok(()),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// How long a look waits for answers.
const ANSWER: Duration = Duration::from_secs(3);
/// How long it counts.
const COUNT: Duration = Duration::from_secs(1);
