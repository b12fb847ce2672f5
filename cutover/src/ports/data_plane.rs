use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, Epoch, GroupName, NodeId, RouteChange};
use serde::{Deserialize, Serialize};

/// The sidecars, as the engine sees them: routes go down, acknowledgements come up.
#[async_trait]
pub trait DataPlane: fmt::Debug + Send + Sync {
    /// Makes `changes` the desired routes, durably, and sends them to every sidecar as
    /// one change. Returns when they are on their way, not when they have arrived.
    ///
    /// # Errors
    /// [`DataPlaneError`] says whether the routes are recorded.
    async fn publish(
        &self,
        changes: &BTreeMap<DatabaseName, RouteChange>,
    ) -> Result<Publication, DataPlaneError>;

    /// Waits until `publication` has converged by `barrier`, cannot any more, or
    /// `deadline` has passed; says what each node did.
    async fn converge(
        &self,
        publication: &Publication,
        barrier: BarrierPolicy,
        deadline: Duration,
    ) -> Convergence;

    /// Sends every sidecar a change that moves nothing, the canaries first, as a publish
    /// would be sent; waits at most `deadline` for the canaries, then for all registered ones.
    /// Who would refuse or miss a real change shows it here.
    async fn rehearse(&self, deadline: Duration) -> Result<Rehearsal, DataPlaneError>;

    /// The registered fleet against the connected one. Members of sidecar groups that are just coming
    /// or going are waited for, some seconds at most.
    async fn membership(&self) -> Result<Membership, DataPlaneError>;
}

/// A publish, and the epoch of each database that it changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Publication {
    /// Grows with each publish of this process.
    pub sequence: u64,
    pub epochs: BTreeMap<DatabaseName, Epoch>,
}

/// Whose acknowledgement a barrier waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BarrierPolicy {
    /// Every registered node, connected or not, and every member of a sidecar group whose lease runs; a
    /// NACK ends it.
    AllRegistered,
    /// Those of them that are connected; a NACK is named and no veto.
    AllConnected,
}

/// What became of a publication, by node. The set of nodes is the one at the
/// barrier's beginning.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Convergence {
    pub reached: bool,
    pub acknowledged: Vec<NodeId>,
    /// Node and the sidecar's own words.
    pub refused: Vec<(NodeId, String)>,
    /// Connected, and silent until the deadline.
    pub lagging: Vec<NodeId>,
    /// Registered, and not connected.
    pub absent: Vec<NodeId>,
    /// Not waited for: connected nodes that nobody registered.
    pub unregistered: Vec<NodeId>,
    /// Members of sidecar groups that went before they had acknowledged, and whose lease has ended:
    /// the wait went on without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<NodeId>,
    /// Not waited for: members that came after the wait had begun. What was published is the first
    /// that they were sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<NodeId>,
}

/// What became of a change that moves nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Rehearsal {
    /// The convergence of the canaries; `None` if there are none.
    pub canaries: Option<Convergence>,
    /// `None` if a canary stopped it: nobody else was sent it.
    pub fleet: Option<Convergence>,
}

/// Who should be there, and who is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Membership {
    /// Registered sidecars, and the members of sidecar groups that barriers await.
    pub registered: Vec<NodeId>,
    /// Of these, not connected.
    pub absent: Vec<NodeId>,
    /// Connected and not registered.
    pub unregistered: Vec<NodeId>,
    /// Registered, connected, and not on the newest snapshot, with the reason.
    pub stale: Vec<(NodeId, String)>,
    /// Sidecar groups that had members a short time ago, and have none now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emptied: Vec<GroupName>,
}

/// Why routes could not be published; none was sent. They are recorded with
/// [`DataPlaneError::NotPublished`] alone.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    /// The store refused or failed.
    #[error("the new routes could not be recorded")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// They will be sent once the cause is gone.
    #[error("the new routes are recorded and not sent")]
    NotPublished(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something else was published each time before the canaries had answered.
    #[error(
        "the canaries could not try a change: other changes were published meanwhile, {0} times; \
         try again"
    )]
    Disturbed(usize),
    /// The routes do not make a whole snapshot.
    #[error("the new routes cannot be rendered: {0}")]
    Render(String),
}
