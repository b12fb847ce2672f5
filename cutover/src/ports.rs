//! What the engine touches of the outside world, each in the engine's own words.

mod alarm;
mod data_plane;
mod database;
mod evidence;

pub use alarm::{Alarm, AlarmSource, AlarmSubject};
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
