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
mod open;
mod order;
mod rebase;
mod retry_queue;
mod sending;
mod sotw_full_state;
mod status;
mod subscription;
mod substream;
mod terms;
mod unconfirmed;
mod unserved;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::time::Instant;

use self::{
    completeness::Completeness,
    subscription::Change,
    substream::{Substream, SyncState},
    unserved::Unserved,
};
pub(crate) use self::{
    message::{DeltaRequest, Reply, Response, SotwRequest, Transport},
    terms::{Bounds, Terms},
    unconfirmed::{UnconfirmedByType, UnconfirmedResources},
};
pub use self::{
    nack::Nack,
    status::{Acknowledged, Sent, TypeState, TypeStatus},
};
use crate::{
    published::PublishedSnapshot,
    resource::{ResourceType, Version},
    sequence::Sequence,
};

/// A request that ends the stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a request for {kind} lists {listed} names, more than {limit}")]
    LongLists {
        kind: ResourceType,
        listed: usize,
        limit: usize,
    },
    #[error("more than {limit} names are subscribed, over all types")]
    TooManyNames { limit: usize },
    #[error("the names that are subscribed have more than {limit} bytes")]
    LongNames { limit: usize },
    #[error("the client says that it has more than {limit} resources that do not exist")]
    TooManyGone { limit: usize },
    #[error(
        "everything of a type was asked for, or given up, more than {limit} times without an \
         answer in between"
    )]
    Restless { limit: u32 },
}

/// By type, from the first request for it on.
type Substreams = [Option<Box<Substream>>; ResourceType::ALL.len()];

#[derive(Debug)]
pub(crate) struct Machine {
    transport: Transport,
    /// Names this start of this server in every nonce.
    instance: Arc<str>,
    terms: Terms,
    published: Option<Arc<PublishedSnapshot>>,
    substreams: Substreams,
    /// By type, one bit each: whether its standing may have changed since it was last asked for.
    touched: u16,
    completeness: Completeness,
    unserved: Unserved,
    /// What the client may have from an earlier stream and not tell of.
    unconfirmed: Option<Box<UnconfirmedByType>>,
    /// Resources that the client said it has and that did not exist.
    gone: usize,
    /// Requests since the client last answered anything that cost what there is, not what they
    /// brought.
    wide_requests: u32,
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
            unconfirmed: None,
            gone: 0,
            wide_requests: 0,
        }
    }

    /// To be called before the first request.
    pub(crate) fn set_unconfirmed(&mut self, unconfirmed: Option<Box<UnconfirmedByType>>) {
        self.unconfirmed = unconfirmed;
    }

    /// What the client may have and would not tell of on another stream, for each type that was
    /// asked for.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (ResourceType, UnconfirmedResources)> {
        let substreams = self.substreams.iter().flatten();
        substreams.map(|substream| (substream.kind, substream.unconfirmed()))
    }

    /// The newest snapshot of the client's group.
    pub(crate) fn publish(&mut self, published: Arc<PublishedSnapshot>) {
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
        let lists = request.subscribe.len() + request.unsubscribe.len();
        self.bound_lists(kind, lists + request.initial_versions.len())?;
        let first = self.open(kind);
        let all = first && self.terms.legacy_wildcard;
        let Some(substream) = self.substreams[kind.index()].as_deref_mut() else {
            return Ok(());
        };
        if substream.answer(&request.reply, &self.instance, now) {
            self.wide_requests = 0;
        }
        let mut change = substream.subscription.change(
            all,
            &request.subscribe,
            &request.unsubscribe,
            substream.base.as_deref(),
        );
        if first {
            let limit = self.terms.bounds.names;
            let unconfirmed = self.unconfirmed.as_deref();
            let unconfirmed = unconfirmed.map(|by_type| by_type.of(kind).clone());
            let unconfirmed = unconfirmed.unwrap_or_default();
            self.gone += substream.remember(&request.initial_versions, &unconfirmed);
            if self.gone > limit {
                return Err(Violation::TooManyGone { limit });
            }
            // What the client lists is compared, not answered anew, except endpoints.
            if kind != ResourceType::Endpoints {
                let listed = &request.initial_versions;
                change
                    .asked
                    .retain(|asked| !listed.contains_key(&*asked.name));
            }
        }
        self.change(kind, first, &change)
    }

    /// # Errors
    /// [`Violation`] ends the stream.
    pub(crate) fn sotw(
        &mut self,
        kind: ResourceType,
        request: &SotwRequest,
        now: Instant,
    ) -> Result<(), Violation> {
        self.bound_lists(kind, request.names.len())?;
        let first = self.open(kind);
        let Some(substream) = self.substreams[kind.index()].as_deref_mut() else {
            return Ok(());
        };
        if !first && !substream.is_latest(&request.reply.nonce, &self.instance) {
            // It crossed a response. The client repeats its names when it answers that.
            return Ok(());
        }
        if substream.answer(&request.reply, &self.instance, now) {
            self.wide_requests = 0;
        }
        let all = self.terms.legacy_wildcard;
        let base = substream.base.as_deref();
        let change = substream
            .subscription
            .replace(first, all, &request.names, base);
        if first {
            let unconfirmed = self.unconfirmed.as_deref();
            substream.claims_untrusted =
                unconfirmed.is_some_and(|by_type| !by_type.of(kind).is_empty());
            if !substream.claims_untrusted {
                substream.claimed = Version::parse(&request.version).map(Box::new);
            }
        }
        self.change(kind, first, &change)
    }

    /// A request for a type that is not served: it gets no answer. Says whether that is news.
    pub(crate) fn unserved(&mut self, type_url: &str) -> bool {
        self.unserved.note(type_url)
    }

    /// The sequence whose content the client has acknowledged in full, if that is the newest
    /// one, for every type that it subscribes to.
    pub(crate) fn synced_to(&mut self) -> Option<Sequence> {
        let published = self.published.as_ref()?;
        let newest = published.sequence;
        let mut substreams = self.substreams.iter().flatten().peekable();
        substreams.peek()?;
        let settled = substreams.all(|substream| substream.sync_state == SyncState::Synced);
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

    /// Nothing is done for a request whose lists have more entries than a client can mean: each
    /// name that it may have asked for in each list, and what it has of the snapshot.
    fn bound_lists(&self, kind: ResourceType, listed: usize) -> Result<(), Violation> {
        let published = self.published.as_ref();
        let present = published.map_or(0, |published| published.snapshot.set(kind).len());
        let meant = self.terms.bounds.names.saturating_mul(LISTS);
        let limit = meant.saturating_add(present);
        if listed > limit {
            return Err(Violation::LongLists {
                kind,
                listed,
                limit,
            });
        }
        Ok(())
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

    /// Enters what a request changed about the subscription of a type. A mere answer changes
    /// nothing.
    fn change(
        &mut self,
        kind: ResourceType,
        first: bool,
        change: &Change,
    ) -> Result<(), Violation> {
        self.touched |= 1 << kind.index();
        if !first && *change == Change::default() {
            return Ok(());
        }
        self.wide_requests += u32::from(change.is_wide());
        self.bound()?;
        if let Some(substream) = self.substreams[kind.index()].as_deref_mut() {
            substream.apply(first, change);
        }
        match kind {
            ResourceType::Endpoints if !change.drops() => {
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
        Ok(())
    }

    fn bound(&self) -> Result<(), Violation> {
        let Bounds {
            names,
            name_bytes,
            wide_requests,
            answer: _,
        } = self.terms.bounds;
        let substreams = self.substreams.iter().flatten();
        let subscriptions = substreams.map(|substream| &substream.subscription);
        let count = subscriptions.clone().map(|all| all.names().len());
        if count.sum::<usize>() > names {
            return Err(Violation::TooManyNames { limit: names });
        }
        let bytes = subscriptions.map(|all| all.size() as usize);
        if bytes.sum::<usize>() > name_bytes {
            return Err(Violation::LongNames { limit: name_bytes });
        }
        if self.wide_requests > wide_requests {
            return Err(Violation::Restless {
                limit: wide_requests,
            });
        }
        Ok(())
    }
}

/// A delta request has three of them: to subscribe, to unsubscribe, and what the client has.
const LISTS: usize = 3;
