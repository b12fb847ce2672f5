//! What is to be said of a sidecar, and in which words.

use std::time::Duration;

use pointsman_xds::{NodeStatus, TypeState, TypeStatus};
use tokio::time::Instant;

use super::{State, service};
use crate::fleet::audience::Audience;

/// The worst of its types, a refusal first: it does not go away by waiting.
pub(super) fn node(status: &NodeStatus, registered: Option<&Audience>) -> (State, String) {
    if !status.connected() {
        return (State::Absent, away(status));
    }
    let (state, words) = connected(status, registered);
    let mut words: Vec<_> = Some(words)
        .filter(|words| !words.is_empty())
        .into_iter()
        .collect();
    words.extend(shared(status));
    if status.registered {
        return (state, words.join("; "));
    }
    let mut all = vec![stranger(status)];
    if state != State::Synced {
        words[0] = format!("{}: {}", state.label(), words[0]);
    }
    all.extend(words);
    (State::Unregistered, all.join("; "))
}

pub(super) fn of_type(status: &TypeStatus) -> State {
    match &status.state {
        TypeState::Synced => State::Synced,
        TypeState::NotSent => State::NotSent,
        TypeState::Lagging { .. } => State::Lagging,
        TypeState::Stale => State::Stale,
        TypeState::Nacked { .. } => State::Nacked,
    }
}

/// Words and resources of what stands refused.
pub(super) fn refusal(status: &TypeStatus) -> (String, Vec<String>) {
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

fn connected(status: &NodeStatus, registered: Option<&Audience>) -> (State, String) {
    let of = |state: State| {
        let types = status.types.iter();
        types.filter(move |of_type| self::of_type(of_type) == state)
    };
    let names = |state: State| {
        let names: Vec<_> = of(state).map(|of_type| service(of_type.kind)).collect();
        names.join(", ")
    };
    let refused: Vec<_> = of(State::Nacked)
        .map(|of_type| {
            let (words, resources) = refusal(of_type);
            format!(
                "{} {}: {words}",
                service(of_type.kind),
                resources.join(", ")
            )
        })
        .collect();
    if !refused.is_empty() {
        return (State::Nacked, refused.join("; "));
    }
    let silent = of(State::Lagging).filter_map(lagging_since).min();
    if let Some(since) = silent {
        let words = format!(
            "no answer for {}: {}",
            age(since.elapsed()),
            names(State::Lagging)
        );
        return (State::Lagging, words);
    }
    if status.types.is_empty() {
        return (
            State::NotSent,
            "it has not asked for anything yet".to_owned(),
        );
    }
    if of(State::NotSent).next().is_some() {
        return (
            State::NotSent,
            format!("not sent yet: {}", names(State::NotSent)),
        );
    }
    if of(State::Stale).next().is_some() {
        let words = format!("not acknowledged yet: {}", names(State::Stale));
        return (State::Stale, words);
    }
    if let (Some(served), Some(audience)) = (&status.group, registered)
        && *served != audience.group()
    {
        let words = format!("still served as {served}: restart it with its new bootstrap");
        return (State::Stale, words);
    }
    if !status.synced {
        let words = match status.streams {
            1 => "something newer is about to be sent",
            _ => "an older stream of it is still open",
        };
        return (State::Stale, words.to_owned());
    }
    (State::Synced, String::new())
}

fn away(status: &NodeStatus) -> String {
    let what = if status.registered {
        "registered and not connected"
    } else {
        "not connected, and not registered"
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

fn stranger(status: &NodeStatus) -> String {
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
    let words = format!("{} streams, from {}", status.streams, from.join(" and "));
    if status.is_cloned() {
        return Some(format!(
            "{words}: two sidecars share this name; give each its own (sidecar bootstrap)"
        ));
    }
    Some(words)
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
