//! A stream that breaks, and the next one.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    super::{Choices, snapshot_generator::KINDS},
    state::{Request, Run},
};
use crate::{
    fixture::TERMS,
    resource::{ResourceType, Version},
    stream::{Machine, Transport, UnconfirmedByType},
};

impl Run {
    /// The stream breaks with all that is on its way; the client says on the next one what it
    /// wants and has.
    pub(super) fn reconnect(&mut self, choices: &mut impl Choices) {
        let remembers = choices.once_in(2);
        self.trace
            .push(format!("reconnect, remembered: {remembers}"));
        self.starts += 1;
        let mut machine = Machine::new(
            self.transport,
            format!("server{}", self.starts).into(),
            TERMS,
        );
        let unconfirmed = remembers.then(|| self.unconfirmed());
        machine.set_unconfirmed(unconfirmed.clone());
        self.unconfirmed = unconfirmed.as_deref().cloned().unwrap_or_default();
        self.machine = machine;
        if let Some(published) = &self.published {
            self.machine.publish(Arc::clone(published));
        }
        self.to_client.clear();
        self.to_server.clear();
        self.clusters_sent.clear();
        let early = choices.below(KINDS.len());
        let mut kinds = KINDS;
        kinds.rotate_left(early);
        for kind in kinds {
            let unconfirmed = unconfirmed.as_ref().map(|by_type| by_type.of(kind).clone());
            let peer = self.peer(kind).reconnected(unconfirmed);
            let started = peer.client.started;
            let names = peer.full_list();
            let (listed, version) = (peer.held.clone(), peer.accepted.clone());
            if kind == ResourceType::Cluster {
                self.clusters_sent.extend(listed.keys().cloned());
            }
            if !started {
                continue;
            }
            let peer = self.peer(kind);
            peer.client.started = false;
            self.ask_anew(kind, names, listed, version);
        }
    }

    /// As the fleet keeps them: of types that were not asked for on this stream, those before.
    pub(super) fn unconfirmed(&self) -> Box<UnconfirmedByType> {
        let mut unconfirmed = self.unconfirmed.clone();
        for (kind, resources) in self.machine.unconfirmed() {
            unconfirmed.set(kind, resources);
        }
        Box::new(unconfirmed)
    }

    pub(super) fn ask_anew(
        &mut self,
        kind: ResourceType,
        names: Vec<String>,
        listed: BTreeMap<String, Version>,
        version: String,
    ) {
        let transport = self.transport;
        let peer = self.peer(kind);
        peer.client = Default::default();
        let (names, unsubscribe) = match transport {
            // Nothing is wanted: an empty first request would say "everything".
            _ if names.is_empty() => return,
            Transport::Delta => {
                peer.client.delta(&names, &[]);
                (names, Vec::new())
            }
            Transport::StateOfTheWorld => {
                peer.client.sotw(&names);
                (names, Vec::new())
            }
        };
        self.send(Request {
            kind,
            names,
            unsubscribe,
            listed,
            version,
            nonce: String::new(),
            refused: false,
        });
    }
}
