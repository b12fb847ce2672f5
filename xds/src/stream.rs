//! One ADS stream as a pure state machine: no socket, no clock, no task. Requests, snapshots
//! and times go in; responses and the client's standing come out. Delta and state of the
//! world share everything except how a request changes the subscription and how a response
//! is composed.

mod difference;
mod nack;
mod order;
mod subscription;
mod substream;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

pub use self::nack::Nack;
use self::{
    difference::Taken,
    order::{ORDER, PATIENCE},
    substream::{Known, Outgoing, Progress, Standing, Substream},
};
use crate::{
    cache::{Published, Sequence},
    resource::{Resource, ResourceType, Version},
};

/// The two forms of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Delta,
    StateOfTheWorld,
}

/// The answer to a response that a request carries.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Empty if the request answers nothing.
    pub(crate) nonce: String,
    /// Present if and only if the client refused the response.
    pub(crate) error: Option<Arc<str>>,
}

/// A delta request, for one type.
#[derive(Debug, Default)]
pub(crate) struct DeltaRequest {
    pub(crate) subscribe: Vec<String>,
    pub(crate) unsubscribe: Vec<String>,
    pub(crate) initial_versions: HashMap<String, String>,
    pub(crate) reply: Reply,
}

/// A state-of-the-world request, for one type. An answer is known by its nonce, and a refusal
/// by its error, never by the version.
#[derive(Debug, Default)]
pub(crate) struct SotwRequest {
    pub(crate) names: Vec<String>,
    /// Counts in the first request: what the client kept from an earlier stream.
    pub(crate) version: String,
    pub(crate) reply: Reply,
}

/// A response for one type, cut from one snapshot.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) kind: ResourceType,
    pub(crate) nonce: Arc<str>,
    pub(crate) version: Version,
    pub(crate) resources: Vec<Resource>,
    /// Delta only.
    pub(crate) removed: Vec<Arc<str>>,
}

/// A response that was put on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    pub nonce: Arc<str>,
    pub sequence: Sequence,
    pub at: Instant,
}

/// A response that the client accepted.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub nonce: Arc<str>,
    /// Of the set that the response was cut from or, in state of the world, of its content.
    pub version: Version,
    pub sequence: Sequence,
    pub at: Instant,
    /// From sending to the ACK.
    pub after: Duration,
}

/// How a client stands towards the newest snapshot, for one type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TypeState {
    /// Nothing was sent yet and something should be.
    NotSent,
    /// Something is on its way, or waits for its turn.
    Stale,
    /// It refused, with these words, what it should have. No names: the whole type.
    Nacked {
        words: Arc<str>,
        resources: Vec<Arc<str>>,
    },
    /// It has acknowledged all of it.
    Synced,
}

/// One type on one stream.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    pub kind: ResourceType,
    pub state: TypeState,
    /// The last response that was put on its way.
    pub sent: Option<Sent>,
    /// The last one that the client accepted.
    pub acknowledged: Option<Acknowledged>,
    /// The last one that it refused, whether that stands or not.
    pub refused: Option<Arc<Nack>>,
}

/// A request that ends the stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("more than {limit} names are subscribed for {kind}")]
    TooManyNames { kind: ResourceType, limit: usize },
}

#[derive(Debug)]
pub(crate) struct Machine {
    /// Names this start of this server in every nonce.
    instance: Arc<str>,
    max_names: usize,
    published: Option<Arc<Published>>,
    substreams: [Substream; ResourceType::ALL.len()],
    /// By type: whether its standing may have changed since it was last asked for.
    touched: [bool; ResourceType::ALL.len()],
    /// Whether the endpoints of all subscribed clusters are subscribed, for the version of
    /// clusters and the two revisions that it was worked out for.
    complete: Option<(Version, u64, u64, bool)>,
}

impl Machine {
    pub(crate) fn new(transport: Transport, instance: Arc<str>, max_names: usize) -> Self {
        Self {
            instance,
            max_names,
            published: None,
            substreams: ResourceType::ALL.map(|kind| Substream::new(kind, transport)),
            touched: [false; ResourceType::ALL.len()],
            complete: None,
        }
    }

    /// The newest snapshot of the client's group.
    pub(crate) fn publish(&mut self, published: Arc<Published>) {
        self.published = Some(published);
        for (touched, substream) in self.touched.iter_mut().zip(&self.substreams) {
            *touched |= substream.started;
        }
    }

    /// # Errors
    /// [`Violation`] ends the stream.
    pub(crate) fn delta(
        &mut self,
        kind: ResourceType,
        request: &DeltaRequest,
        now: Instant,
    ) -> Result<(), Violation> {
        let set = self.published.as_ref().map(|p| p.snapshot.set(kind));
        let substream = &mut self.substreams[kind.index()];
        self.touched[kind.index()] = true;
        substream.answer(&request.reply, now);
        let first = !substream.started;
        let mut change =
            substream
                .subscription
                .change(first, &request.subscribe, &request.unsubscribe);
        if first {
            substream.remember(&request.initial_versions);
            // What the client lists is compared, not answered anew, except endpoints.
            let known = &substream.known;
            if kind != ResourceType::Endpoints {
                change.asked.retain(|name| !known.contains_key(name));
            }
        }
        substream.apply(change, set.map(AsRef::as_ref));
        self.bound(kind)
    }

    /// # Errors
    /// [`Violation`] ends the stream.
    pub(crate) fn sotw(
        &mut self,
        kind: ResourceType,
        request: &SotwRequest,
        now: Instant,
    ) -> Result<(), Violation> {
        let set = self.published.as_ref().map(|p| p.snapshot.set(kind));
        let substream = &mut self.substreams[kind.index()];
        let first = !substream.started;
        if !first {
            let latest = substream.sent.as_ref().map_or("", |sent| &*sent.nonce);
            if request.reply.nonce != latest {
                // It crossed a response. The client repeats its names when it answers that.
                return Ok(());
            }
        }
        self.touched[kind.index()] = true;
        substream.answer(&request.reply, now);
        let change = substream.subscription.replace(first, &request.names);
        if first {
            substream.claimed = Version::parse(&request.version);
        }
        substream.apply(change, set.map(AsRef::as_ref));
        self.bound(kind)
    }

    /// Everything that may go out now, in order.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Response> {
        let Some(published) = self.published.clone() else {
            return Vec::new();
        };
        let mut responses = Vec::new();
        let mut progress = [Progress::Done; ResourceType::ALL.len()];
        for step in &ORDER {
            let at = step.kind.index();
            let set = published.snapshot.set(step.kind);
            let substream = &mut self.substreams[at];
            if !substream.started || substream.is_done_with(set) {
                continue;
            }
            if substream.in_flight.is_some() {
                progress[at] = substream.progress(set);
                continue;
            }
            let awaited = step.after.iter().map(|kind| progress[kind.index()]);
            let awaited = awaited.max().unwrap_or(Progress::Done);
            let patient = awaited == Progress::Sent && step.phase.upserts();
            let open = match awaited {
                Progress::Done => true,
                Progress::Sent => patient && substream.is_out_of_patience(now),
                Progress::Unsent => false,
            };
            match substream.take(set, step.phase, open) {
                Taken::Nothing => {}
                Taken::Blocked => {
                    progress[at] = Progress::Unsent;
                    substream.blocked_since =
                        patient.then(|| substream.blocked_since.unwrap_or(now));
                }
                Taken::Send { outgoing, whole } => {
                    self.touched[at] = true;
                    responses.push(self.send(step.kind, outgoing, whole, &published, now));
                    progress[at] = self.substreams[at].progress(set);
                }
            }
        }
        responses
    }

    /// When [`Machine::advance`] must be called again although nothing has come in.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.substreams
            .iter()
            .filter_map(|substream| substream.blocked_since)
            .map(|since| since + PATIENCE)
            .filter(|due| *due > now)
            .min()
    }

    /// The sequence whose content the client has acknowledged in full, if that is the newest
    /// one, for every type that it subscribes to.
    pub(crate) fn synced_to(&mut self) -> Option<Sequence> {
        let published = self.published.clone()?;
        let mut started = self.substreams.iter().filter(|s| s.started).peekable();
        started.peek()?;
        let settled = started.all(|substream| {
            let version = published.snapshot.set(substream.kind).version();
            substream.standing == Standing::Settled(version)
        });
        (settled && self.is_complete(&published)).then_some(published.sequence)
    }

    /// The sequence of the newest snapshot.
    pub(crate) fn newest(&self) -> Option<Sequence> {
        self.published.as_ref().map(|published| published.sequence)
    }

    /// The types whose standing may have changed since the last call, each with it.
    pub(crate) fn changes(&mut self) -> impl Iterator<Item = TypeStatus> {
        let touched = std::mem::take(&mut self.touched);
        self.substreams
            .iter()
            .filter(move |substream| touched[substream.kind.index()])
            .map(|substream| TypeStatus {
                kind: substream.kind,
                state: self.state(substream),
                sent: substream.sent.clone(),
                acknowledged: substream.acknowledged.clone(),
                refused: substream.refused.clone(),
            })
    }

    fn send(
        &mut self,
        kind: ResourceType,
        outgoing: Outgoing,
        version: Version,
        published: &Published,
        now: Instant,
    ) -> Response {
        let substream = &mut self.substreams[kind.index()];
        let nonce = substream.send(&outgoing, version, published, &self.instance, now);
        if kind == ResourceType::Cluster {
            // A cluster that was sent warms anew, and waits for its endpoints.
            let endpoints = &mut self.substreams[ResourceType::Endpoints.index()];
            for name in outgoing.changed.iter().filter_map(Resource::endpoints) {
                endpoints.void(name);
                self.touched[ResourceType::Endpoints.index()] = true;
            }
        }
        Response {
            kind,
            nonce,
            version,
            resources: outgoing.resources,
            removed: outgoing.removed,
        }
    }

    /// Where a type stood towards an older snapshot says nothing.
    fn state(&self, substream: &Substream) -> TypeState {
        let published = self.published.as_ref();
        let newest = published.map(|published| published.snapshot.set(substream.kind).version());
        match substream.standing {
            Standing::Settled(version) if Some(version) == newest => TypeState::Synced,
            Standing::Refused(version) if Some(version) == newest => TypeState::Nacked {
                words: Arc::clone(&substream.rejected.words),
                resources: substream.refused_names(),
            },
            Standing::Settled(_) | Standing::Refused(_) => TypeState::Stale,
            Standing::Open if substream.sent.is_none() => TypeState::NotSent,
            Standing::Open => TypeState::Stale,
        }
    }

    /// A client that comes back asks for one type after the other, and may have everything of
    /// the first ones: it is not done before it has asked for what it forwards by. One that
    /// takes its clusters by wildcard is a proxy and takes its listeners, too.
    fn has_only_begun(&self, published: &Published) -> bool {
        let asked = |kind: ResourceType| self.substreams[kind.index()].started;
        let exists = |kind: ResourceType| !published.snapshot.set(kind).is_empty();
        let of_proxies = [ResourceType::Cluster, ResourceType::Listener];
        let is_proxy = of_proxies.into_iter().any(|kind| {
            let substream = &self.substreams[kind.index()];
            substream.started && substream.subscription.is_wildcard()
        });
        if is_proxy {
            return of_proxies
                .into_iter()
                .any(|kind| exists(kind) && !asked(kind));
        }
        FORWARDING.into_iter().any(exists) && !FORWARDING.into_iter().any(asked)
    }

    /// A client that has its clusters and has not asked for their endpoints yet is not done,
    /// even if it has everything that it asked for so far.
    fn is_complete(&mut self, published: &Published) -> bool {
        if self.has_only_begun(published) {
            return false;
        }
        let clusters = &self.substreams[ResourceType::Cluster.index()];
        if !clusters.started {
            return true;
        }
        let endpoints = &self.substreams[ResourceType::Endpoints.index()];
        let set = published.snapshot.set(ResourceType::Cluster);
        let key = (set.version(), clusters.revision, endpoints.revision);
        if let Some((version, ours, theirs, complete)) = self.complete
            && (version, ours, theirs) == key
        {
            return complete;
        }
        let complete = set
            .iter()
            .filter(|cluster| clusters.subscription.covers(cluster.name()))
            .filter_map(Resource::endpoints)
            .all(|name| endpoints.subscription.covers(name));
        self.complete = Some((key.0, key.1, key.2, complete));
        complete
    }

    fn bound(&self, kind: ResourceType) -> Result<(), Violation> {
        let names = self.substreams[kind.index()].subscription.names().len();
        let limit = self.max_names;
        if names > limit {
            return Err(Violation::TooManyNames { kind, limit });
        }
        Ok(())
    }
}

impl Substream {
    /// `initial_resource_versions`: what the client kept from an earlier stream. Endpoints
    /// are sent on a new stream whatever the client has, since Envoy may hold them for a
    /// cluster that it is warming anew.
    fn remember(&mut self, versions: &HashMap<String, String>) {
        for (name, version) in versions {
            if !self.subscription.covers(name) {
                continue;
            }
            let version = if self.kind == ResourceType::Endpoints {
                None
            } else {
                Version::parse(version)
            };
            let known = Known {
                version,
                resource: None,
            };
            self.known.insert(name.as_str().into(), known);
        }
    }
}

/// What decides where a client sends its traffic, in contrast to what it runs with.
const FORWARDING: [ResourceType; 6] = [
    ResourceType::Cluster,
    ResourceType::Endpoints,
    ResourceType::Listener,
    ResourceType::ScopedRoute,
    ResourceType::Route,
    ResourceType::VirtualHost,
];
