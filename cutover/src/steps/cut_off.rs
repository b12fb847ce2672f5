//! A standby that hears nothing more of its primary.

use std::time::Duration;

use crate::{
    machine::PromotionDeadline,
    ports::{Clock, ControlledServer, ProviderError},
};

/// Cuts the standby `target` off from the WAL of `source`. Its promotion was asked for, or may
/// have been: a late one then brings up a server that is closed as `source` was, whatever is
/// opened there. First the target's own clock has to pass `deadline`, past which it refuses.
///
/// The control sessions of both servers are new ones: opening them has ended those that asked.
/// Returns the name of the slot that is gone.
///
/// # Errors
/// It cannot be cut off, or its clock does not pass the deadline within `patience`. Nothing was
/// changed then.
pub async fn cut_off_standby(
    clock: &dyn Clock,
    source: &ControlledServer,
    target: &ControlledServer,
    deadline: Option<PromotionDeadline>,
    patience: Duration,
) -> Result<String, ProviderError> {
    let link = target.replication()?.standby_link().await?;
    let slot = link.slot.filter(|_| link.restore_command.is_empty());
    let slot = slot.ok_or_else(|| ProviderError::Unfit {
        server: target.name().clone(),
        reason: format!(
            "it is a standby that cannot be cut off from the WAL of {} (no replication slot of its \
             own, or a restore_command): a late promotion could come up open",
            source.name()
        ),
    })?;
    if let Some(deadline) = deadline {
        await_clock(clock, target, deadline, patience).await?;
    }
    source.replication()?.cut_off_standby(&slot).await?;
    Ok(slot)
}

/// Waits until no promotion under `deadline` can take effect any more, by the target's clock.
async fn await_clock(
    clock: &dyn Clock,
    target: &ControlledServer,
    deadline: PromotionDeadline,
    patience: Duration,
) -> Result<(), ProviderError> {
    let give_up = clock.deadline(patience);
    loop {
        let now = target.observe().await?.clock;
        if deadline.has_passed(now) {
            return Ok(());
        }
        if give_up.has_passed() {
            return Err(ProviderError::TimedOut {
                server: target.name().clone(),
                what: format!(
                    "the end of the promotion's time, {} on its clock",
                    deadline.0
                ),
                waited: patience,
                found: format!("it is {now} there"),
            });
        }
        clock.sleep(POLL).await;
    }
}

const POLL: Duration = Duration::from_millis(20);
