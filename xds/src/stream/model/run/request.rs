//! What the client asks, and how the server takes it.

use std::collections::BTreeMap;

use super::{
    super::{
        Choices,
        snapshot_generator::{KINDS, NAMES},
    },
    state::{Request, Run, is_full_state},
};
use crate::{
    resource::{ResourceType, Version},
    stream::{DeltaRequest, Reply, SotwRequest, Transport},
};

impl Run {
    pub(super) fn subscribe(&mut self, choices: &mut impl Choices) {
        let (kind, names) = (any_kind(choices), any_names(choices));
        let listed = if choices.once_in(8) {
            self.peers[&kind].held.clone()
        } else {
            BTreeMap::new()
        };
        self.ask(kind, names, Vec::new(), listed);
    }

    pub(super) fn unsubscribe(&mut self, choices: &mut impl Choices) {
        let (kind, names) = (any_kind(choices), any_names(choices));
        let also = if choices.once_in(4) {
            any_names(choices)
        } else {
            Vec::new()
        };
        self.ask(kind, also, names, BTreeMap::new());
    }

    /// The client changes what it wants. State of the world says all of it, each time.
    pub(super) fn ask(
        &mut self,
        kind: ResourceType,
        names: Vec<String>,
        unsubscribe: Vec<String>,
        listed: BTreeMap<String, Version>,
    ) {
        let peer = self.peer(kind);
        let first = !peer.client.started;
        let nonce = peer.received.clone();
        let transport = self.transport;
        match transport {
            Transport::Delta => {
                let peer = self.peer(kind);
                peer.client.delta(&names, &unsubscribe);
                peer.forget(transport);
                let listed = if first { peer.held.clone() } else { listed };
                self.send(Request {
                    kind,
                    names,
                    unsubscribe,
                    listed,
                    version: String::new(),
                    nonce: String::new(),
                    refused: false,
                });
            }
            Transport::StateOfTheWorld => {
                let peer = self.peer(kind);
                peer.client.sotw(&names);
                peer.forget(transport);
                let version = peer.accepted.clone();
                self.send(Request {
                    kind,
                    names,
                    unsubscribe: Vec::new(),
                    listed: BTreeMap::new(),
                    version,
                    nonce,
                    refused: false,
                });
            }
        }
    }

    pub(super) fn stale(&mut self, choices: &mut impl Choices) {
        let kind = any_kind(choices);
        let peer = &self.peers[&kind];
        if !peer.server.started {
            return;
        }
        let former = peer.nonces.len().saturating_sub(1);
        let nonce = match choices.below(former + 1) {
            0 => "elsewhere-1".to_owned(),
            at => peer.nonces[at - 1].clone(),
        };
        let request = Request {
            kind,
            names: Vec::new(),
            unsubscribe: Vec::new(),
            listed: BTreeMap::new(),
            version: String::new(),
            nonce,
            refused: choices.below(2) == 0,
        };
        self.trace.push(format!("stale {request:?}"));
        self.enter(&request);
    }

    pub(super) fn enter(&mut self, request: &Request) {
        self.trace
            .push(format!("server takes {:?} {}", request.kind, request.nonce));
        let kind = request.kind;
        let full_state = is_full_state(self.transport, kind);
        let snapshot = self
            .published
            .as_ref()
            .map(|published| published.snapshot.clone());
        let now = self.now;
        let reply = || Reply {
            nonce: request.nonce.clone(),
            error: request.refused.then(|| "bad".into()),
        };
        let transport = self.transport;
        let peer = self.peer(kind);
        let entered = match transport {
            Transport::Delta => {
                peer.answered(&request.nonce, request.refused, full_state);
                if let Some(snapshot) = &snapshot {
                    peer.published(kind, snapshot, transport, full_state);
                }
                let told = peer.server.delta(&request.names, &request.unsubscribe);
                peer.asked(kind, full_state, told, &request.listed, snapshot.as_ref());
                let versions = request.listed.iter();
                let request = DeltaRequest {
                    subscribe: request.names.clone(),
                    unsubscribe: request.unsubscribe.clone(),
                    initial_versions: versions.map(|(n, v)| (n.clone(), v.to_string())).collect(),
                    reply: reply(),
                };
                self.machine.delta(kind, &request, now)
            }
            Transport::StateOfTheWorld => {
                if !peer.server.started || request.nonce == peer.latest() {
                    peer.answered(&request.nonce, request.refused, full_state);
                    if let Some(snapshot) = &snapshot {
                        peer.published(kind, snapshot, transport, full_state);
                    }
                    let told = peer.server.sotw(&request.names);
                    if told.first && full_state {
                        peer.claim(&request.version);
                    }
                    peer.asked(kind, full_state, told, &BTreeMap::new(), snapshot.as_ref());
                }
                let request = SotwRequest {
                    names: request.names.clone(),
                    version: request.version.clone(),
                    reply: reply(),
                };
                self.machine.sotw(kind, &request, now)
            }
        };
        if let Err(violation) = entered {
            unreachable!("{violation}");
        }
    }
}

fn any_kind(choices: &mut impl Choices) -> ResourceType {
    KINDS[choices.below(KINDS.len())]
}

fn any_names(choices: &mut impl Choices) -> Vec<String> {
    let bits = choices.below(1 << (NAMES.len() + 1));
    let all = NAMES.iter().chain([&"*"]).enumerate();
    all.filter(|(at, _)| bits & (1 << at) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}
