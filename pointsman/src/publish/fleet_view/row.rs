//! One sidecar, as operators see it.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use pointsman_catalog::{DatabaseName, GroupName};

/// The row of one sidecar.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) listen: Option<IpAddr>,
    pub(crate) registered: bool,
    pub(crate) canary: bool,
    /// Of a member of a sidecar group: its group, the identity that it has proven, and its lease.
    pub(crate) group: Option<GroupName>,
    pub(crate) identity: Option<String>,
    pub(crate) lease: Option<String>,
    /// Those that exist for it; `None` is all.
    pub(crate) databases: Option<BTreeSet<DatabaseName>>,
    pub(crate) state: SyncState,
    /// Why the state is not [`SyncState::Synced`], and what is odd besides.
    pub(crate) message: String,
    pub(crate) types: Vec<TypeView>,
    pub(crate) acked_ms_ago: Option<u64>,
    /// How long the newest acknowledgement took, from sending.
    pub(crate) ack_us: Option<u64>,
    pub(crate) streams: usize,
    /// The addresses of the open streams, the newest last. Without one, that of the last stream.
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) synced_to: Option<u64>,
    pub(crate) nacks: u64,
}

/// One type that a sidecar subscribes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TypeView {
    pub(crate) service: &'static str,
    pub(crate) state: SyncState,
    /// Why it was refused, as the sidecar says it; empty unless it was.
    pub(crate) reason: String,
    pub(crate) resources: Vec<String>,
    pub(crate) ack_us: Option<u64>,
}

/// How far a resource type of a sidecar is synchronized. A sidecar has the worst state of its
/// types.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SyncState {
    Synced,
    /// Sent and not acknowledged yet.
    Stale,
    /// Sent, and not answered for a time in which every healthy sidecar answers.
    Lagging,
    /// It refused what it was sent.
    Nacked,
    /// There is something that it was not sent yet.
    NotSent,
    /// Registered, or a member whose lease runs, and not connected.
    Absent,
    /// Connected, and nobody registered it.
    Unregistered,
}

impl SyncState {
    /// As `fleet status` prints it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Lagging => "LAGGING",
            Self::Nacked => "NACKED",
            Self::NotSent => "NOT SENT",
            Self::Absent => "ABSENT",
            Self::Unregistered => "UNREGISTERED",
        }
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
