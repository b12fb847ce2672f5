//! Database servers, by role: what a server can do for a switch, and who reaches it.

mod budgets;
mod clients;
mod error;
mod fence;
mod missing;
mod observe;
mod preparation;
mod probe_sessions;
mod probe_table;
mod promotion;
mod provider;
mod providers;
mod recorder;
mod replication;
mod reverse_stream;
mod server;
mod sessions;
mod user_writes;
mod wal_proof;

pub use budgets::Budgets;
pub use clients::Clients;
pub use error::ProviderError;
pub use fence::{AccessRules, AclItem, Breach, BreachKind, Fence, FenceRecord, FormerSettings};
pub use missing::{MissingRole, NotOffered, ServerRole};
pub use observe::{DatabaseSettings, LeftTimeline, Observation, Observe};
pub use preparation::Preparation;
pub use probe_sessions::{ProbeError, ProbeSessions, ReadOnlyDefault, WriteAttempt};
pub use probe_table::ProbeTable;
pub use promotion::{
    FenceToken, GuardedPromotion, ManagedPromotion, PromoteAnswer, PromotionOutlook,
    PromotionProgress, RequestAnswer,
};
pub use provider::{ControlId, DatabaseProvider, HostSeen, Inspector, Instance, Tried};
pub use providers::Providers;
pub use recorder::Recorder;
pub use replication::{Replay, Replication, StandbyLink, StandbysSet, Synchronous, Synchrony};
pub use reverse_stream::{
    Armed, ReversePublisher, ReverseSlot, ReverseSubscriber, SequenceValue, SlotProgress,
    SubscriptionSpec,
};
pub use server::{ControlledServer, Offer, Roles};
pub use sessions::{Arrivals, ConnectionAttempt, SessionControl};
pub use user_writes::{IdReach, UserCommit, UserWrites, WalReach, WatchMethod};
pub use wal_proof::{Exempt, Finding, Look, Marker, ProofMethod, Strangers, WalProof, WriteProof};
