//! What the engine touches of the outside world, each in the engine's own words.

use std::sync::Arc;

use pointsman_catalog::Catalog;

mod alarm;
mod clock;
mod data_plane;
mod database;
mod evidence;

pub use alarm::{Alarm, AlarmSource, AlarmSubject};
pub use clock::{Clock, Deadline, Elapsed, Monotonic, SystemClock};
pub use data_plane::{
    Barrier, Convergence, DataPlane, DataPlaneError, Membership, Publication, Rehearsal,
};
pub use database::{
    Armed, Breach, Closed, ControlId, ControlledServer, DatabaseProvider, DatabaseSettings, Exempt,
    FenceRecord, Inspector, Marker, Observation, PromoteAnswer, PromoteGuard, ProviderError,
    Refusal, Replay, ReverseSlot, SequenceValue, SlotProgress, StandbyLink, SubscriptionSpec,
    UserCommits,
};
pub use evidence::{Evidence, NoEvidence, Reached, SessionsOn};

/// Everything outside that the engine touches.
#[derive(Clone, Debug)]
pub struct Ports {
    pub catalog: Arc<Catalog>,
    pub clock: Arc<dyn Clock>,
    pub data_plane: Arc<dyn DataPlane>,
    pub provider: Arc<dyn DatabaseProvider>,
    pub alarms: Vec<Arc<dyn AlarmSource>>,
    pub evidence: Arc<dyn Evidence>,
}
