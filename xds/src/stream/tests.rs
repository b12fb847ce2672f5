//! The protocol's rules (X) and the traps other servers fell into (T), on the machine alone.

mod cost;
mod delta;
mod every;
mod limits;
mod lists;
mod order;
mod property;
mod refusal;
mod sotw;
mod sync_state;
mod ttl;
mod warming;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::*;
use crate::{fixture::TERMS, published::PublishedSnapshot, resource::Resource, snapshot::Snapshot};

/// A client whose requests go straight into a machine.
pub(super) struct Client {
    pub(super) machine: Machine,
    transport: Transport,
    pub(super) now: Instant,
    sequence: u64,
    /// State of the world repeats its names in each request.
    names: HashMap<ResourceType, Vec<String>>,
}

impl Client {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            machine: Machine::new(transport, "server".into(), TERMS),
            transport,
            now: Instant::now(),
            sequence: 0,
            names: HashMap::new(),
        }
    }

    pub(super) fn delta() -> Self {
        Self::new(Transport::Delta)
    }

    pub(super) fn sotw() -> Self {
        Self::new(Transport::StateOfTheWorld)
    }

    pub(super) fn publish(
        &mut self,
        resources: impl IntoIterator<Item = Resource>,
    ) -> Vec<Response> {
        let snapshot = Snapshot::builder().extend(resources).build().unwrap();
        self.show(snapshot)
    }

    pub(super) fn show(&mut self, snapshot: Snapshot) -> Vec<Response> {
        self.sequence += 1;
        let sequence = Sequence::from(self.sequence);
        let former = self.machine.published.take();
        let published = PublishedSnapshot::after(sequence, snapshot, former.as_deref());
        self.machine.published = former;
        self.machine.publish(Arc::new(published));
        self.advance()
    }

    pub(super) fn advance(&mut self) -> Vec<Response> {
        self.machine.advance(self.now)
    }

    /// Delta: subscribes to more; state of the world: to these.
    pub(super) fn ask(&mut self, kind: ResourceType, names: &[&str]) -> Vec<Response> {
        let nonce = match self.transport {
            Transport::Delta => String::new(),
            Transport::StateOfTheWorld => self.latest(kind),
        };
        self.request(kind, names, &[], Reply { nonce, error: None })
    }

    pub(super) fn unsubscribe(&mut self, kind: ResourceType, names: &[&str]) -> Vec<Response> {
        self.request(kind, &[], names, Reply::default())
    }

    pub(super) fn ack(&mut self, response: &Response) -> Vec<Response> {
        let reply = Reply {
            nonce: response.nonce.as_ref().to_owned(),
            error: None,
        };
        self.reply(response.kind, reply)
    }

    pub(super) fn nack(&mut self, response: &Response) -> Vec<Response> {
        let reply = Reply {
            nonce: response.nonce.as_ref().to_owned(),
            error: Some("malformed".into()),
        };
        self.reply(response.kind, reply)
    }

    pub(super) fn reply(&mut self, kind: ResourceType, reply: Reply) -> Vec<Response> {
        let names = self.names.get(&kind).cloned().unwrap_or_default();
        let names: Vec<_> = match self.transport {
            Transport::Delta => Vec::new(),
            Transport::StateOfTheWorld => names.iter().map(String::as_str).collect(),
        };
        self.request(kind, &names, &[], reply)
    }

    /// Acknowledges these and all that follows from it; returns everything that came.
    pub(super) fn settle(&mut self, responses: Vec<Response>) -> Vec<Response> {
        let mut all = Vec::new();
        let mut open: std::collections::VecDeque<_> = responses.into();
        while let Some(response) = open.pop_front() {
            open.extend(self.ack(&response));
            all.push(response);
            assert!(all.len() < 100, "the server does not come to rest");
        }
        all
    }

    pub(super) fn reconnect(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        versions: &[(&str, &str)],
    ) -> Vec<Response> {
        let request = DeltaRequest {
            subscribe: owned(names),
            initial_versions: versions
                .iter()
                .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
                .collect(),
            ..DeltaRequest::default()
        };
        self.machine.delta(kind, &request, self.now).unwrap();
        self.advance()
    }

    /// State of the world: the first request of a stream, with a version from an earlier one.
    pub(super) fn return_with(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        version: &str,
    ) -> Vec<Response> {
        let request = SotwRequest {
            names: owned(names),
            version: version.to_owned(),
            ..SotwRequest::default()
        };
        self.names.insert(kind, owned(names));
        self.machine.sotw(kind, &request, self.now).unwrap();
        self.advance()
    }

    pub(super) fn request(
        &mut self,
        kind: ResourceType,
        names: &[&str],
        unsubscribe: &[&str],
        reply: Reply,
    ) -> Vec<Response> {
        match self.transport {
            Transport::Delta => {
                let request = DeltaRequest {
                    subscribe: owned(names),
                    unsubscribe: owned(unsubscribe),
                    reply,
                    ..DeltaRequest::default()
                };
                self.machine.delta(kind, &request, self.now).unwrap();
            }
            Transport::StateOfTheWorld => {
                self.names.insert(kind, owned(names));
                let request = SotwRequest {
                    names: owned(names),
                    reply,
                    ..SotwRequest::default()
                };
                self.machine.sotw(kind, &request, self.now).unwrap();
            }
        }
        self.advance()
    }

    pub(super) fn state(&self, kind: ResourceType) -> TypeState {
        self.machine.substreams[kind.index()]
            .as_ref()
            .unwrap()
            .state()
    }

    fn latest(&self, kind: ResourceType) -> String {
        let substream = self.machine.substreams[kind.index()].as_ref();
        substream
            .and_then(|substream| substream.latest_nonce())
            .map_or_else(String::new, |nonce| nonce.text(&self.machine.instance))
    }
}

/// The only response, if there is exactly one.
#[track_caller]
pub(super) fn only(mut responses: Vec<Response>) -> Response {
    assert_eq!(responses.len(), 1, "{responses:#?}");
    responses.remove(0)
}

pub(super) fn sent(response: &Response) -> Vec<&str> {
    response.resources.iter().map(|r| &**r.name()).collect()
}

pub(super) fn removed(response: &Response) -> Vec<&str> {
    response.removed.iter().map(AsRef::as_ref).collect()
}

/// Type, names sent, removed and absent, one line each.
pub(super) fn story(responses: &[Response]) -> Vec<String> {
    responses
        .iter()
        .map(|response| {
            let mut line = format!("{:?}", response.kind);
            for name in sent(response) {
                line.push_str(&format!(" +{name}"));
            }
            for name in removed(response) {
                line.push_str(&format!(" -{name}"));
            }
            for name in &response.absent {
                line.push_str(&format!(" ?{name}"));
            }
            line
        })
        .collect()
}

pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Substream {
    /// Bytes that are only this stream's, without the allocator's own.
    fn heap(&self) -> usize {
        assert!(self.client().is_settled() && !self.is_in_flight());
        assert!(self.status().nacked.is_none());
        size_of::<Self>() + size_of_val(self.client().subscription().names())
    }
}
