//! A change that moves nothing, sent as a real one would be.

use std::{collections::BTreeSet, time::Duration};

use pointsman_catalog::UnixMillis;
use pointsman_cutover::ports::{Convergence, DataPlaneError, Rehearsal};
use pointsman_xds::{CanaryDecision, NodeId, Policy};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Publisher, data_plane::convergence_of};

impl Publisher {
    /// The canaries try it; once they have taken it, everybody must.
    pub(super) async fn rehearsal(&self, deadline: Duration) -> Result<Rehearsal, DataPlaneError> {
        for _ in 0..ATTEMPTS {
            let now = UnixMillis::now();
            let world = self.world.lock().await;
            let snapshots = world.rehearsing(now).map_err(DataPlaneError::Render)?;
            let canaries = world.canaries().iter();
            let canaries: BTreeSet<_> = canaries.map(|id| NodeId::new(id.as_str())).collect();
            let tried = !canaries.is_empty();
            // Staged before anybody else can publish: what comes after it is newer, and ends it.
            let trial = self.fleet.stage(snapshots, canaries);
            drop(world);
            let canary = trial.decide(Instant::now() + deadline).await;
            // The others are not unregistered: they were not asked.
            let canaries = tried.then(|| Convergence {
                unregistered: Vec::new(),
                ..convergence_of(canary.convergence)
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
                    self.world.lock().await.rehearsed = Some(now);
                    let (policy, deadline) = (Policy::AllRegistered, Instant::now() + deadline);
                    let fleet = self.fleet.converge(sequence, policy, deadline).await;
                    let fleet = Some(convergence_of(fleet));
                    return Ok(Rehearsal { canaries, fleet });
                }
            }
        }
        Err(DataPlaneError::Disturbed(ATTEMPTS))
    }
}

/// A publish in the milliseconds that canaries take to answer is rare; each is a sidecar that
/// came, an address that moved, or another migration.
const ATTEMPTS: usize = 5;
