//! A change that moves nothing, sent as a real one would be.

use std::{collections::BTreeSet, time::Duration};

use pointsman_cutover::ports::{Clock, Convergence, DataPlaneError, Rehearsal};
use pointsman_xds::{CanaryDecision, Fleet, NodeId, Policy};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{convergence::convergence, state::PublishedState};

/// The canaries try it; once they have taken it, everybody must.
pub(super) async fn rehearse(
    state: &Mutex<PublishedState>,
    fleet: &Fleet,
    clock: &dyn Clock,
    deadline: Duration,
) -> Result<Rehearsal, DataPlaneError> {
    for _ in 0..ATTEMPTS {
        let now = clock.now();
        let published = state.lock().await;
        let snapshots = published
            .rehearsal(now)
            .map_err(|error| DataPlaneError::Render(error.to_string()))?;
        let canaries = published.canaries();
        let canaries: BTreeSet<_> = canaries.map(|id| NodeId::new(id.as_str())).collect();
        let tried = !canaries.is_empty();
        // Staged before anybody else can publish: what comes after it is newer, and ends it.
        let trial = fleet.stage(snapshots, canaries);
        drop(published);
        let canary = trial.decide(clock.sleep(deadline)).await;
        // The others are not unregistered: they were not asked.
        let canaries = tried.then(|| Convergence {
            unregistered: Vec::new(),
            joined: Vec::new(),
            ..convergence(canary.convergence)
        });
        match canary.decision {
            CanaryDecision::Superseded => {
                info!("the canaries' trial was overtaken by a publish");
            }
            CanaryDecision::Withdrawn(_) => {
                warn!(
                    ?canaries,
                    "a canary did not take a change that moves nothing"
                );
                let fleet = None;
                return Ok(Rehearsal { canaries, fleet });
            }
            CanaryDecision::Promoted(sequence) => {
                state.lock().await.keep_rehearsal(now);
                let (policy, deadline) = (Policy::AllRegistered, clock.sleep(deadline));
                let found = fleet.converge(sequence, policy, deadline).await;
                let fleet = Some(convergence(found));
                return Ok(Rehearsal { canaries, fleet });
            }
        }
    }
    Err(DataPlaneError::Disturbed(ATTEMPTS))
}

/// A publish in the milliseconds that canaries take to answer is rare; each is a sidecar that
/// came, an address that moved, or another migration.
const ATTEMPTS: usize = 5;
