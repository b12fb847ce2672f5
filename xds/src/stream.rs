//! One ADS stream as a pure state machine: no socket, no clock, no task. Requests, snapshots
//! and times go in; responses and the client's standing come out. Delta and state of the
//! world share everything except how a request changes the subscription and how a response
//! is composed.

mod answer;
mod completeness;
mod difference;
mod heartbeat;
mod message;
#[cfg(any(test, fuzzing))]
pub(crate) mod model;
mod nack;
mod order;
mod rebase;
mod status;
mod subscription;
mod substream;
mod terms;
mod unserved;
mod whole;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::time::Instant;

use self::{
    completeness::Completeness,
    difference::Taken,
    order::{ORDER, PATIENCE, Step},
    substream::{Outgoing, Progress, Standing, Substream},
    unserved::Unserved,
};
pub(crate) use self::{
    message::{DeltaRequest, Reply, Response, SotwRequest, Transport},
    terms::Terms,
};
pub use self::{
    nack::Nack,
    status::{Acknowledged, Sent, TypeState, TypeStatus},
};
use crate::{
    cache::{Published, Sequence},
    resource::{Resource, ResourceType, Version},
};

/// A request that ends the stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("more than {limit} names are subscribed for {kind}")]
    TooManyNames { kind: ResourceType, limit: usize },
}

/// By type, from the first request for it on.
type Substreams = [Option<Box<Substream>>; ResourceType::ALL.len()];

#[derive(Debug)]
pub(crate) struct Machine {
    transport: Transport,
    /// Names this start of this server in every nonce.
    instance: Arc<str>,
    terms: Terms,
    published: Option<Arc<Published>>,
    substreams: Substreams,
    /// By type, one bit each: whether its standing may have changed since it was last asked for.
    touched: u16,
    completeness: Completeness,
    unserved: Unserved,
}

impl Machine {
    pub(crate) fn new(transport: Transport, instance: Arc<str>, terms: Terms) -> Self {
        Self {
            transport,
            instance,
            terms,
            published: None,
            substreams: Default::default(),
            touched: 0,
            completeness: Completeness::default(),
            unserved: Unserved::default(),
        }
    }

    /// The newest snapshot of the client's group.
    pub(crate) fn publish(&mut self, published: Arc<Published>) {
        for kind in ResourceType::ALL {
            let at = kind.index();
            let Some(substream) = self.substreams[at].as_deref_mut() else {
                continue;
            };
            let from = substream.version();
            let changes = from.and_then(|from| published.changes(kind, from));
            if !substream.rebase(published.snapshot.set(kind), changes) {
                continue;
            }
            self.touched |= 1 << at;
            if kind == ResourceType::Cluster
                && let Some(clusters) = self.substreams[at].as_deref()
            {
                let endpoints = self.substreams[ResourceType::Endpoints.index()].as_deref();
                self.completeness.follow(changes, clusters, endpoints);
            }
        }
        self.published = Some(published);
    }

    /// # Errors
    /// [`Violation`] ends the stream.
    pub(crate) fn delta(
        &mut self,
        kind: ResourceType,
        request: &DeltaRequest,
        now: Instant,
    ) -> Result<(), Violation> {
        let first = self.open(kind);
        let all = first && self.terms.legacy_wildcard;
        let Some(substream) = self.substreams[kind.index()].as_deref_mut() else {
            return Ok(());
        };
        substream.answer(&request.reply, now);
        let base = substream.base.clone();
        let mut change = substream.subscription.change(
            all,
            &request.subscribe,
            &request.unsubscribe,
            base.as_deref(),
        );
        if first {
            substream.remember(&request.initial_versions);
            // What the client lists is compared, not answered anew, except endpoints.
            if kind != ResourceType::Endpoints {
                let listed = &request.initial_versions;
                change
                    .asked
                    .retain(|asked| !listed.contains_key(&*asked.name));
            }
        }
        let dropped = change.dropped;
        substream.apply(first, change);
        self.changed(kind, dropped);
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
        let first = self.open(kind);
        let Some(substream) = self.substreams[kind.index()].as_deref_mut() else {
            return Ok(());
        };
        if !first && request.reply.nonce != substream.latest_nonce().unwrap_or_default() {
            // It crossed a response. The client repeats its names when it answers that.
            return Ok(());
        }
        substream.answer(&request.reply, now);
        let base = substream.base.clone();
        let all = self.terms.legacy_wildcard;
        let change = substream
            .subscription
            .replace(first, all, &request.names, base.as_deref());
        let dropped = change.dropped;
        if first {
            substream.claimed = Version::parse(&request.version);
        }
        substream.apply(first, change);
        self.changed(kind, dropped);
        self.bound(kind)
    }

    /// A request for a type that is not served: it gets no answer. Says whether that is news.
    pub(crate) fn unserved(&mut self, type_url: &str) -> bool {
        self.unserved.note(type_url)
    }

    /// Everything that may go out now, in order.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Response> {
        let Some(published) = self.published.clone() else {
            return Vec::new();
        };
        self.note_time(now);
        let mut responses = Vec::new();
        let mut progress = [Progress::Done; ResourceType::ALL.len()];
        for step in &ORDER {
            responses.extend(self.step(step, &published, &mut progress, now));
        }
        let substreams = self.substreams.iter_mut().flatten();
        responses.extend(
            substreams.filter_map(|substream| substream.heartbeat(&published, &self.instance, now)),
        );
        responses
    }

    /// When [`Machine::advance`] must be called again although nothing has come in.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let substreams = self.substreams.iter().flatten();
        substreams
            .flat_map(|substream| {
                let patience = substream.blocked_since.map(|since| since + PATIENCE);
                [patience, substream.beat, self.answer_due(substream)]
            })
            .flatten()
            .filter(|due| *due > now)
            .min()
    }

    /// The sequence whose content the client has acknowledged in full, if that is the newest
    /// one, for every type that it subscribes to.
    pub(crate) fn synced_to(&mut self) -> Option<Sequence> {
        let published = self.published.as_ref()?;
        let newest = published.sequence;
        let mut substreams = self.substreams.iter().flatten().peekable();
        substreams.peek()?;
        let settled = substreams.all(|substream| substream.standing == Standing::Settled);
        let complete = self.terms.alone
            || (!completeness::has_only_begun(&self.substreams, published)
                && self.completeness.is_complete(&self.substreams));
        (settled && complete).then_some(newest)
    }

    /// The sequence of the newest snapshot.
    pub(crate) fn newest(&self) -> Option<Sequence> {
        self.published.as_ref().map(|published| published.sequence)
    }

    /// The types whose standing may have changed since the last call, each with it.
    pub(crate) fn changes(&mut self) -> impl Iterator<Item = TypeStatus> {
        let touched = std::mem::take(&mut self.touched);
        let substreams = self.substreams.iter().enumerate();
        substreams
            .filter(move |(at, _)| touched & (1 << at) != 0)
            .filter_map(|(_, substream)| substream.as_deref())
            .map(Substream::status)
    }

    /// Says whether this is the first request for the type.
    fn open(&mut self, kind: ResourceType) -> bool {
        let place = &mut self.substreams[kind.index()];
        if place.is_some() {
            return false;
        }
        let published = self.published.as_ref();
        let base = published.map(|published| Arc::clone(published.snapshot.set(kind)));
        *place = Some(Box::new(Substream::new(kind, self.transport, base)));
        true
    }

    /// A request has changed what is subscribed of a type.
    fn changed(&mut self, kind: ResourceType, dropped: bool) {
        self.touched |= 1 << kind.index();
        match kind {
            ResourceType::Endpoints if !dropped => {
                if let Some(endpoints) = self.substreams[kind.index()].as_deref() {
                    self.completeness.widen(endpoints);
                }
            }
            ResourceType::Cluster | ResourceType::Endpoints => self.completeness.forget(),
            ResourceType::Extension
            | ResourceType::Listener
            | ResourceType::ScopedRoute
            | ResourceType::Route
            | ResourceType::VirtualHost
            | ResourceType::Secret
            | ResourceType::Runtime => {}
        }
    }

    fn note_time(&mut self, now: Instant) {
        for at in 0..self.substreams.len() {
            let late = self.substreams[at]
                .as_deref()
                .and_then(|substream| self.answer_due(substream))
                .is_some_and(|due| due <= now);
            let Some(substream) = self.substreams[at].as_deref_mut() else {
                continue;
            };
            substream.renew_whole(now);
            if late && let Some(in_flight) = &mut substream.in_flight {
                in_flight.overdue = true;
                self.touched |= 1 << at;
            }
        }
    }

    fn answer_due(&self, substream: &Substream) -> Option<Instant> {
        let in_flight = substream.in_flight.as_ref()?;
        let sent = substream.sent.as_ref()?;
        (!in_flight.overdue).then(|| sent.at + self.terms.answer)
    }

    fn step(
        &mut self,
        step: &Step,
        published: &Published,
        progress: &mut [Progress; ResourceType::ALL.len()],
        now: Instant,
    ) -> Option<Response> {
        let at = step.kind.index();
        let substream = self.substreams[at].as_deref_mut()?;
        if substream.standing != Standing::Open || progress[at] != Progress::Done {
            return None;
        }
        if substream.in_flight.is_some() {
            progress[at] = substream.progress();
            return None;
        }
        let awaited = step.after.iter().map(|kind| progress[kind.index()]);
        let awaited = awaited.max().unwrap_or(Progress::Done);
        let patient = awaited == Progress::Sent && step.phase.upserts();
        let open = match awaited {
            Progress::Done => true,
            Progress::Sent => patient && substream.is_out_of_patience(now),
            Progress::Unsent => false,
        };
        match substream.take(step.phase, open) {
            Taken::Nothing => None,
            Taken::Blocked => {
                progress[at] = Progress::Unsent;
                substream.blocked_since = patient.then(|| substream.blocked_since.unwrap_or(now));
                None
            }
            Taken::Send { outgoing, whole } => {
                let response = self.send(step.kind, outgoing, whole, published, now);
                progress[at] = self.substreams[at]
                    .as_ref()
                    .map_or(Progress::Done, |substream| substream.progress());
                response
            }
        }
    }

    fn send(
        &mut self,
        kind: ResourceType,
        outgoing: Outgoing,
        version: Version,
        published: &Published,
        now: Instant,
    ) -> Option<Response> {
        self.touched |= 1 << kind.index();
        let substream = self.substreams[kind.index()].as_deref_mut()?;
        let nonce = substream.send(&outgoing, version, published, &self.instance, now);
        let ttl = self.terms.ttl && outgoing.resources.iter().any(|r| r.ttl().is_some());
        if ttl {
            substream.schedule_beat(&outgoing.resources, now);
        }
        // What was sent warms anew, and waits for what it refers to.
        let changed = outgoing.changed.as_ref().unwrap_or(&outgoing.resources);
        for (kind, name) in changed.iter().flat_map(Resource::references) {
            if let Some(referred) = self.substreams[kind.index()].as_deref_mut() {
                referred.void(name);
                self.touched |= 1 << kind.index();
            }
        }
        Some(Response {
            kind,
            nonce,
            version,
            resources: outgoing.resources,
            removed: outgoing.removed,
            heartbeat: false,
            ttl,
        })
    }

    fn bound(&self, kind: ResourceType) -> Result<(), Violation> {
        let substream = self.substreams[kind.index()].as_ref();
        let names = substream.map_or(0, |substream| substream.subscription.names().len());
        let limit = self.terms.names;
        if names > limit {
            return Err(Violation::TooManyNames { kind, limit });
        }
        Ok(())
    }
}
