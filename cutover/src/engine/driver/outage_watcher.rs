//! A target of a bake that serves nobody, and those who are held for it.

use std::time::Duration;

use tracing::{info, warn};

use super::{inbox::Inbox, leader::Leader};
use crate::{
    engine::error::DriveError,
    machine::Event,
    ports::Monotonic,
    steps::{Failure, TargetSeen},
};

/// Holds new connections as long as the target is down, and sends them there when it is back.
#[derive(Debug, Default)]
pub(super) struct OutageWatcher {
    asked: Option<Monotonic>,
}

impl OutageWatcher {
    /// Looks, if there is a reason to. Whether somebody is held afterwards.
    pub(super) async fn look(
        &mut self,
        leader: &mut Leader,
        inbox: &mut Inbox,
    ) -> Result<bool, DriveError> {
        let held = leader.migration().machine.held_since().is_some();
        let clock = leader.commands().clock();
        let lately = self.asked.is_some_and(|at| clock.elapsed(at) < ASK_AGAIN);
        if !held && (lately || !leader.suspects_target()) {
            return Ok(false);
        }
        let seen = match leader.look_at_target().await {
            Ok(seen) => seen,
            // The store does not answer.
            Err(failure) => {
                warn!(migration = %leader.migration().name, "{}", failure.message);
                return Ok(held);
            }
        };
        match (held, seen) {
            (false, TargetSeen::Silent(silent)) => self.suspect(leader, inbox, &silent).await?,
            // What it is, the look at the other servers says.
            (false, TargetSeen::Serves | TargetSeen::Unclear(_) | TargetSeen::Changed(_)) => {}
            (true, TargetSeen::Silent(_)) => leader.hold_writers().await,
            (true, TargetSeen::Serves) => {
                release(leader, "it is the writer that it was").await?;
            }
            (true, TargetSeen::Unclear(why)) => {
                let why = format!("what it is could not be looked at: {why}");
                release(leader, &why).await?;
            }
            (true, TargetSeen::Changed(found)) => {
                leader.happened(Event::MovedByHand, found).await?;
            }
        }
        Ok(leader.migration().machine.held_since().is_some())
    }

    /// Nobody is held by the word of the engine alone. A request is heard at once.
    async fn suspect(
        &mut self,
        leader: &mut Leader,
        inbox: &mut Inbox,
        silent: &Failure,
    ) -> Result<(), DriveError> {
        let witnessed = tokio::select! {
            biased;
            witnessed = leader.target_is_down(silent) => witnessed,
            () = inbox.arrived() => return Ok(()),
        };
        self.asked = Some(leader.commands().clock().monotonic());
        match witnessed {
            Ok(why) => leader.begin_to_hold(&why).await,
            Err(why) => {
                leader.show_bake(|view| view.target.holds_nobody(Some(why)));
                Ok(())
            }
        }
    }
}

/// It is on record once it is published: a successor that finds it held looks, and publishes it again.
async fn release(leader: &mut Leader, why: &str) -> Result<(), DriveError> {
    let (name, target) = (
        leader.migration().name.clone(),
        leader.migration().target.clone(),
    );
    if let Err(failure) = leader.release_writers().await {
        warn!(migration = %name, "{}", failure.message);
        return Ok(());
    }
    let reason = format!("{target} answers again, and {why}: new connections go there");
    info!(migration = %name, "{reason}");
    leader.happened(Event::TargetBack, reason).await?;
    leader.show_bake(|view| view.target.answers());
    Ok(())
}

/// Sidecars try a server that they did not reach once a second.
const ASK_AGAIN: Duration = Duration::from_secs(1);
