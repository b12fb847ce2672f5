//! The fleet, a row per sidecar.

use std::{net::IpAddr, sync::PoisonError};

use pointsman_catalog::NodeId;
use pointsman_envoy_config::LISTEN_METADATA;
use pointsman_xds::{NodeStatus, TypeState};

use super::{Publisher, world};

/// One sidecar, as operators see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeView {
    pub(crate) id: String,
    pub(crate) listen: Option<IpAddr>,
    pub(crate) registered: bool,
    pub(crate) connected: bool,
    pub(crate) state: State,
    /// Why the state is not [`State::Synced`].
    pub(crate) words: String,
    pub(crate) acked_ms_ago: Option<u64>,
}

/// The worst that is to be said of a sidecar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Synced,
    /// Sent and not acknowledged yet.
    Stale,
    /// It refused what it was sent.
    Nacked,
    /// There is something that it was not sent yet.
    NotSent,
    /// Registered and not connected.
    Absent,
    /// Connected, and nobody registered it.
    Unregistered,
}

impl State {
    /// As `fleet status` prints it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Synced => "SYNCED",
            Self::Stale => "STALE",
            Self::Nacked => "NACKED",
            Self::NotSent => "NOT SENT",
            Self::Absent => "ABSENT",
            Self::Unregistered => "UNREGISTERED",
        }
    }
}

impl Publisher {
    /// A row per sidecar, registered or connected.
    pub(crate) fn nodes(&self) -> Vec<NodeView> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        self.fleet
            .status()
            .iter()
            .map(|status| {
                let registered = NodeId::new(status.id.as_str())
                    .ok()
                    .and_then(|id| known.registered.get(&id).copied());
                let (state, words) = judge(status, registered);
                let listen = registered.or_else(|| {
                    status
                        .about
                        .as_ref()?
                        .metadata(LISTEN_METADATA)?
                        .parse()
                        .ok()
                });
                NodeView {
                    id: status.id.to_string(),
                    listen,
                    registered: status.registered,
                    connected: status.connected(),
                    state,
                    words,
                    acked_ms_ago: acked_ms_ago(status),
                }
            })
            .collect()
    }

    /// Connected nodes that nobody registered.
    pub(super) fn unregistered(&self) -> Vec<NodeId> {
        self.fleet
            .status()
            .into_iter()
            .filter(|status| status.connected() && !status.registered)
            .filter_map(|status| NodeId::new(status.id.as_str()).ok())
            .collect()
    }
}

/// The newest acknowledgement of any type.
fn acked_ms_ago(status: &NodeStatus) -> Option<u64> {
    let newest = status
        .types
        .iter()
        .filter_map(|status| Some(status.acknowledged.as_ref()?.at))
        .max()?;
    Some(u64::try_from(newest.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The worst of its types, a refusal first: it does not go away by waiting.
fn judge(status: &NodeStatus, listen: Option<IpAddr>) -> (State, String) {
    if !status.connected() {
        return (State::Absent, "registered and not connected".to_owned());
    }
    let (mut refused, mut missing, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for of_type in &status.types {
        let kind = of_type.kind;
        match &of_type.state {
            TypeState::Synced => {}
            TypeState::NotSent => missing.push(kind.to_string()),
            TypeState::Stale => waiting.push(kind.to_string()),
            TypeState::Nacked { words, resources } => {
                refused.push(format!("{kind} {}: {words}", resources.join(", ")));
            }
        }
    }
    let (state, words) = if !refused.is_empty() {
        (State::Nacked, refused.join("; "))
    } else if !missing.is_empty() || status.types.is_empty() {
        (
            State::NotSent,
            format!("not sent yet: {}", missing.join(", ")),
        )
    } else if !waiting.is_empty() {
        (
            State::Stale,
            format!("not acknowledged yet: {}", waiting.join(", ")),
        )
    } else if let (Some(served), Some(listen)) = (&status.group, listen)
        && *served != world::group(listen)
    {
        (
            State::Stale,
            format!("still listens on {served}: restart it with its new bootstrap"),
        )
    } else if !status.synced {
        (
            State::Stale,
            "an older stream of it is still open".to_owned(),
        )
    } else {
        (State::Synced, String::new())
    };
    if status.registered {
        return (state, words);
    }
    let also = if words.is_empty() {
        String::new()
    } else {
        format!("; {}: {words}", state.label())
    };
    (
        State::Unregistered,
        format!("connected, and nobody registered it{also}"),
    )
}
