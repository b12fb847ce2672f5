//! What the engine touches of the outside world, each in the engine's own words.

use std::sync::Arc;

use pointsman_catalog::Catalog;

use crate::checks::CheckSet;

mod alarm;
mod clock;
mod data_plane;
mod database;
mod evidence;
mod manual_clock;

pub use alarm::{Alarm, AlarmSource, AlarmSubject};
pub use clock::{Clock, Deadline, Elapsed, Monotonic, SystemClock};
pub use data_plane::{
    BarrierPolicy, Convergence, DataPlane, DataPlaneError, Membership, Publication, Rehearsal,
};
pub use database::{
    AccessRules, AclItem, Armed, Arrivals, Breach, BreachKind, Budgets, Clients, ConnectionAttempt,
    ControlId, ControlledServer, DatabaseProvider, DatabaseSettings, Exempt, Fence, FenceRecord,
    FenceToken, Finding, FormerSettings, GuardedPromotion, HostSeen, IdReach, Inspector, Instance,
    LeftTimeline, Look, ManagedPromotion, Marker, MissingRole, NotOffered, Observation, Observe,
    Offer, Preparation, ProbeError, ProbeSessions, ProbeTable, PromoteAnswer, PromotionOutlook,
    PromotionProgress, ProofMethod, ProviderError, Providers, ReadOnlyDefault, Recorder, Replay,
    Replication, RequestAnswer, ReversePublisher, ReverseSlot, ReverseSubscriber, Roles,
    SequenceValue, ServerRole, SessionControl, SlotProgress, StandbyLink, StandbysSet, Strangers,
    SubscriptionSpec, Synchronous, Synchrony, Tried, UserCommit, UserWrites, WalProof, WalReach,
    WatchMethod, WriteAttempt, WriteProof,
};
pub use evidence::{Evidence, NoEvidence, Reached, SessionsOn};
pub use manual_clock::ManualClock;

/// Everything outside that the engine touches.
#[derive(Clone, Debug)]
pub struct Ports {
    pub catalog: Arc<Catalog>,
    pub clock: Arc<dyn Clock>,
    pub data_plane: Arc<dyn DataPlane>,
    pub providers: Providers,
    pub alarms: Vec<Arc<dyn AlarmSource>>,
    pub evidence: Arc<dyn Evidence>,
    pub checks: CheckSet,
}
