//! The synchronization state of a sidecar, and the message that explains it.

use std::time::Duration;

use pointsman_xds::{Absence, LeaseStatus, NodeStatus, TypeState, TypeStatus};
use tokio::time::Instant;

use super::row::SyncState;
use crate::publish::audience::Audience;

/// The worst state of its types. A NACK comes first: it does not go away by waiting.
pub(super) fn of_node(status: &NodeStatus, registered: Option<&Audience>) -> (SyncState, String) {
    if !status.connected() {
        return (SyncState::Absent, away(status));
    }
    let (state, message) = connected(status, registered);
    if status.is_awaited() {
        let parts = Some(message).filter(|message| !message.is_empty());
        return (state, join(parts.into_iter().chain(shared(status))));
    }
    let labelled = (state != SyncState::Synced).then(|| format!("{}: {message}", state.label()));
    let parts = [Some(unregistered(status)), labelled, shared(status)];
    (SyncState::Unregistered, join(parts.into_iter().flatten()))
}

/// The lease of a member, in words.
pub(super) fn lease(lease: LeaseStatus) -> String {
    match lease.ends {
        None if lease.is_kept() => "kept".to_owned(),
        None => "held".to_owned(),
        Some(ends) => {
            let left = ends.saturating_duration_since(Instant::now());
            format!("ends in {}", age(left))
        }
    }
}

pub(super) fn of_type(status: &TypeStatus) -> SyncState {
    match &status.state {
        TypeState::Synced => SyncState::Synced,
        TypeState::NotSent => SyncState::NotSent,
        TypeState::Lagging { .. } => SyncState::Lagging,
        TypeState::Stale => SyncState::Stale,
        TypeState::Nacked { .. } => SyncState::Nacked,
    }
}

/// The reason and the resources of what was refused, if anything is.
pub(super) fn nack(status: &TypeStatus) -> (String, Vec<String>) {
    match &status.state {
        TypeState::Nacked { message, resources } => {
            let names = resources.iter().map(ToString::to_string);
            (message.to_string(), names.collect())
        }
        TypeState::Synced | TypeState::NotSent | TypeState::Stale | TypeState::Lagging { .. } => {
            Default::default()
        }
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join("; ")
}

fn connected(status: &NodeStatus, registered: Option<&Audience>) -> (SyncState, String) {
    let of = |state: SyncState| {
        let types = status.types.iter();
        types.filter(move |of_type| self::of_type(of_type) == state)
    };
    let names = |state: SyncState| {
        let names: Vec<_> = of(state).map(|of_type| of_type.kind.service()).collect();
        names.join(", ")
    };
    let refused: Vec<_> = of(SyncState::Nacked)
        .map(|of_type| {
            let (reason, resources) = nack(of_type);
            format!(
                "{} {}: {reason}",
                of_type.kind.service(),
                resources.join(", ")
            )
        })
        .collect();
    if !refused.is_empty() {
        return (SyncState::Nacked, refused.join("; "));
    }
    let silent = of(SyncState::Lagging).filter_map(lagging_since).min();
    if let Some(since) = silent {
        let message = format!(
            "no answer for {}: {}",
            age(since.elapsed()),
            names(SyncState::Lagging)
        );
        return (SyncState::Lagging, message);
    }
    if status.types.is_empty() {
        return (
            SyncState::NotSent,
            "it has not asked for anything yet".to_owned(),
        );
    }
    if of(SyncState::NotSent).next().is_some() {
        return (
            SyncState::NotSent,
            format!("not sent yet: {}", names(SyncState::NotSent)),
        );
    }
    if of(SyncState::Stale).next().is_some() {
        let message = format!("not acknowledged yet: {}", names(SyncState::Stale));
        return (SyncState::Stale, message);
    }
    if let (Some(served), Some(audience)) = (&status.group, registered)
        && *served != audience.group()
    {
        let message = format!("still served as {served}: restart it with its new bootstrap");
        return (SyncState::Stale, message);
    }
    if !status.synced {
        let message = match status.streams {
            1 => "something newer is about to be sent",
            _ => "an older stream of it is still open",
        };
        return (SyncState::Stale, message.to_owned());
    }
    (SyncState::Synced, String::new())
}

fn away(status: &NodeStatus) -> String {
    let what = match status.lease {
        Some(lease) => away_with_lease(lease),
        None if status.registered => "registered and not connected",
        None => "not connected, and not registered",
    };
    match (status.gone, status.peers.last()) {
        (Some(gone), Some(peer)) => format!(
            "{what}: it went {} ago, from {}",
            age(gone.elapsed()),
            peer.address
        ),
        (Some(_), None) | (None, _) => format!("{what} since this control plane began"),
    }
}

fn away_with_lease(lease: LeaseStatus) -> &'static str {
    match lease.absence {
        Some(Absence::Silent) if lease.is_kept() => {
            "a member that has gone silent, and whose last report shows sessions: barriers await it until \
             it is back; once it is certain that it has ended, `fleet retire` it"
        }
        Some(_) if lease.is_kept() => {
            "a member whose connection was closed, and whose last report shows sessions that servers do not \
             show to be gone (the log says which): barriers await it until they are or it is back; once it is \
             certain that it has ended, `fleet retire` it"
        }
        Some(Absence::Silent) => {
            "a member that has gone silent: it is unknown whether it still has connections, so \
             barriers await it until its lease is over"
        }
        Some(Absence::ClosedWithOthers) => {
            "a member whose connection was closed together with many others of its group: it is unknown \
             whether they have ended or something on their way has failed, so barriers await it until its \
             lease is over; once it is certain that it has ended, `fleet retire` it"
        }
        Some(Absence::Restored) => {
            "a member that was connected before this control plane began: barriers await it until its \
             lease is over, in case it comes back"
        }
        Some(Absence::Closed) | None => {
            "a member whose connection was closed: barriers await it until its lease is over, in case \
             it comes back"
        }
    }
}

fn unregistered(status: &NodeStatus) -> String {
    match status.retired {
        Some(retired) => format!(
            "connected, and was retired {} ago: stop it",
            age(retired.elapsed())
        ),
        None => "connected, and nobody registered it".to_owned(),
    }
}

/// Several streams under one name: they count as one sidecar, which has what all of them have.
fn shared(status: &NodeStatus) -> Option<String> {
    if status.streams < 2 {
        return None;
    }
    let from: Vec<_> = status
        .peers
        .iter()
        .map(|peer| peer.address.to_string())
        .collect();
    let message = format!("{} streams, from {}", status.streams, from.join(" and "));
    if status.is_cloned() {
        return Some(format!(
            "{message}: two sidecars share this name; give each its own (sidecar bootstrap)"
        ));
    }
    Some(message)
}

fn lagging_since(status: &TypeStatus) -> Option<Instant> {
    match status.state {
        TypeState::Lagging { since } => Some(since),
        TypeState::NotSent | TypeState::Stale | TypeState::Nacked { .. } | TypeState::Synced => {
            None
        }
    }
}

fn age(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}
