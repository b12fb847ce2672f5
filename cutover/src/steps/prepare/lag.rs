//! How far the source is behind the target that serves, in time.

use std::time::Duration;

use crate::{
    Lsn,
    migration::Coverage,
    ports::{Clock, Deadline, ReversePublisher, ReverseSlot, SlotProgress, WalProof},
    steps::{Failure, Run},
};

/// What the source has yet to apply must fit into the wait behind the hold, or clients would
/// be parked for a switch that cannot end well. How long that takes is measured, because bytes
/// say little of it: a busy machine needs a hundred times as long for the same bytes. The
/// target serves meanwhile.
pub(super) async fn await_small_lag(run: &mut Run<'_>) -> Result<(), Failure> {
    let wait = run.budgets.source.catch_up;
    let small = wait / 2;
    let target = run.target().await?;
    let slots = &run.migration.facts.stream()?.slots;
    let lag = Lag {
        clock: run.clock(),
        wal: target.wal_proof()?,
        publisher: target.reverse_publisher()?,
        slots,
    };
    let deadline = run.clock().deadline(wait);
    while let Applied::After { took, behind, at } = lag.measure(&deadline).await? {
        if took <= small {
            break;
        }
        if deadline.has_passed() {
            return Err(Failure::condition(format!(
                "the source {} is {behind} bytes of WAL behind, and for {wait:?} it needed longer \
                 than {small:?} to apply what {} wrote ({at}): nobody was held; ask again when it has \
                 caught up",
                run.migration.source,
                target.name()
            )));
        }
    }
    Ok(())
}

/// A stream that was interrupted is no stream that is lost: a subscriber connects again by itself.
/// Returns whether every slot streams. The target serves meanwhile.
pub(super) async fn await_stream(run: &mut Run<'_>) -> Result<bool, Failure> {
    let target = run.target().await?;
    let stream = run.migration.facts.stream()?;
    if stream.coverage == Coverage::Incomplete {
        return Ok(false);
    }
    let slots = &stream.slots;
    let publisher = target.reverse_publisher()?;
    let deadline = run.clock().deadline(RECONNECTS);
    loop {
        let progress = publisher.slot_progress(slots).await?;
        if progress.is_empty() || progress.len() < slots.len() {
            return Ok(false);
        }
        if progress.iter().all(|slot| slot.streaming) {
            return Ok(true);
        }
        if deadline.has_passed() {
            return Ok(false);
        }
        run.clock().sleep(RECONNECT_POLL).await;
    }
}

/// Measures how long the subscriber needs.
struct Lag<'a> {
    clock: &'a dyn Clock,
    wal: &'a dyn WalProof,
    publisher: &'a dyn ReversePublisher,
    slots: &'a [ReverseSlot],
}

enum Applied {
    /// What had been written when the measurement began was confirmed after `took`, or has not
    /// been until then; `behind` bytes of WAL were not at its end, when slots were `at` these positions.
    After {
        took: Duration,
        behind: u64,
        at: String,
    },
    /// Nothing is streamed now.
    NotStreaming,
}

impl Lag<'_> {
    /// Ends at `deadline` at the latest, or with the first look.
    async fn measure(&self, deadline: &Deadline<'_>) -> Result<Applied, Failure> {
        let written = self.wal.flush().await?;
        let began = self.clock.monotonic();
        loop {
            let progress = self.publisher.slot_progress(self.slots).await?;
            if progress.len() < self.slots.len() || progress.iter().any(|slot| !slot.streaming) {
                return Ok(Applied::NotStreaming);
            }
            let confirmed = progress.iter().all(|slot| slot.confirmed >= written);
            if confirmed || deadline.has_passed() {
                return Ok(Applied::After {
                    took: self.clock.elapsed(began),
                    behind: progress
                        .iter()
                        .map(SlotProgress::behind_bytes)
                        .max()
                        .unwrap_or_default(),
                    at: positions(&progress, written),
                });
            }
            self.clock.sleep(POLL).await;
        }
    }
}

fn positions(progress: &[SlotProgress], written: Lsn) -> String {
    let at = progress.iter().map(|at| {
        format!(
            "slot {} has confirmed {} of {written}",
            at.slot, at.confirmed
        )
    });
    at.collect::<Vec<_>>().join(", ")
}

const POLL: Duration = Duration::from_millis(20);
/// A worker that has ended is started again after `wal_retrieve_retry_interval`, which is 5 s where
/// nobody has set it.
const RECONNECTS: Duration = Duration::from_secs(10);
const RECONNECT_POLL: Duration = Duration::from_millis(100);
