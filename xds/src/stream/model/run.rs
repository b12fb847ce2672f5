//! A run: publishes, requests, answers, stale answers, time and reconnects in any order, with messages
//! in flight in both directions.

mod reconnect;
mod request;
mod state;
mod verdict;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Choices, snapshot_generator::KINDS};
use crate::{
    published::PublishedSnapshot,
    resource::{Resource, ResourceType},
    sequence::Sequence,
    stream::{Response, Transport},
};
use state::{Request, Run, is_full_state};

/// Runs `steps` random steps, then delivers everything in flight. The error tells the violation and the
/// events before it.
pub(crate) fn play(
    transport: Transport,
    choices: &mut impl Choices,
    steps: usize,
) -> Result<(), String> {
    let mut run = Run::new(transport);
    let mut outcome = Ok(());
    for _ in 0..steps {
        outcome = outcome.and_then(|()| run.step(choices));
    }
    outcome
        .and_then(|()| run.rest())
        .map_err(|broken| format!("{broken}\n{}", run.trace.join("\n")))
}

impl Run {
    fn step(&mut self, choices: &mut impl Choices) -> Result<(), String> {
        match choices.below(16) {
            1..=2 => self.publish(choices),
            3..=5 => self.subscribe(choices),
            6 => self.unsubscribe(choices),
            7..=10 => self.receive(),
            11..=13 => return self.arrive(),
            14 => self.stale(choices),
            15 if choices.once_in(4) => self.reconnect(choices),
            15 => self.now += Duration::from_secs(1),
            _ => {}
        }
        self.advance()
    }

    fn publish(&mut self, choices: &mut impl Choices) {
        let snapshot = self.state.turn(choices);
        self.sequence += 1;
        // A stream may miss a publish, and then sees changes that are not from what it has.
        let missed = choices.once_in(4);
        let former = self.published.as_deref();
        let published = Arc::new(PublishedSnapshot::after(
            Sequence::from(self.sequence),
            snapshot.clone(),
            former,
        ));
        self.trace.push(format!(
            "publish {} missed: {missed}: {}",
            self.sequence,
            line(KINDS.iter().flat_map(|kind| snapshot.set(*kind).iter()))
        ));
        self.published = Some(Arc::clone(&published));
        if missed {
            return self.publish(choices);
        }
        for (kind, peer) in &mut self.peers {
            let full_state = is_full_state(self.transport, *kind);
            peer.published(*kind, &snapshot, self.transport, full_state);
        }
        self.machine.publish(published);
    }

    /// The client gets a response, and answers it.
    fn receive(&mut self) {
        let Some(response) = self.to_client.pop_front() else {
            return;
        };
        let kind = response.kind;
        let full_state = is_full_state(self.transport, kind);
        let (transport, state) = (self.transport, &self.state);
        let Some(peer) = self.peers.get_mut(&kind) else {
            return;
        };
        let refused = peer.receive(&response, state, transport, full_state);
        peer.received = response.nonce.to_string();
        let names = match transport {
            Transport::Delta => Vec::new(),
            Transport::StateOfTheWorld => peer.list(),
        };
        self.send(Request {
            kind,
            names,
            unsubscribe: Vec::new(),
            listed: BTreeMap::new(),
            version: String::new(),
            nonce: response.nonce.to_string(),
            refused,
        });
    }

    /// A request reaches the server.
    fn arrive(&mut self) -> Result<(), String> {
        if let Some(request) = self.to_server.pop_front() {
            self.enter(&request);
        }
        self.advance()
    }

    fn advance(&mut self) -> Result<(), String> {
        if let Some(published) = &self.published {
            for (kind, peer) in &mut self.peers {
                peer.recognise(*kind, &published.snapshot);
            }
        }
        let responses = self.machine.advance(self.now);
        for response in responses {
            self.emitted(response)?;
        }
        self.check_synced()
    }

    fn emitted(&mut self, response: Response) -> Result<(), String> {
        self.trace.push(format!(
            "server sends {} {}: {} -{:?} ?{:?}",
            response.kind,
            response.nonce,
            line(response.resources.iter()),
            response.removed,
            response.absent
        ));
        let Some(published) = self.published.clone() else {
            return Err("something is sent before anything is published".to_owned());
        };
        let snapshot = &published.snapshot;
        let kind = response.kind;
        let full_state = is_full_state(self.transport, kind);
        let changed = self.peer(kind).emitted(&response, snapshot, full_state)?;
        if kind == ResourceType::Cluster {
            for name in changed {
                // A cluster here asks for its endpoints by its own name.
                if snapshot.set(kind).get(&name).is_some() {
                    self.peer(ResourceType::Endpoints).void(&name);
                }
                self.clusters_sent.push(name);
            }
        }
        self.to_client.push_back(response);
        Ok(())
    }
}

fn line<'a>(resources: impl Iterator<Item = &'a Resource>) -> String {
    let short = |resource: &Resource| {
        let version = resource.version().to_string();
        format!(
            "{:?} {}@{}",
            resource.kind(),
            resource.name(),
            &version[..4]
        )
    };
    resources.map(short).collect::<Vec<_>>().join(", ")
}
