//! One discovery stream as a state machine without sockets, clock and tasks. Requests, snapshots and
//! times go in; responses and the client's status come out.
//!
//! Delta and state of the world differ in how a request changes the subscription and in how a
//! response is composed. Everything else is shared.

mod client_state;
mod completeness;
mod difference;
mod heartbeat;
mod in_flight;
mod message;
#[cfg(any(test, fuzzing))]
pub(crate) mod model;
mod nack;
mod next_response;
mod order;
mod outgoing;
mod response_log;
mod retry_queue;
mod sending;
mod sotw_full_state;
mod status;
mod subscription;
mod substream;
mod terms;
mod unconfirmed;
mod unserved;
mod unsettled;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::time::Instant;

use self::{
    completeness::Completeness,
    subscription::SubscriptionChange,
    substream::{Substream, Substreams, SyncState},
    unserved::UnservedTypes,
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
use crate::{published::PublishedSnapshot, resource::ResourceType, sequence::Sequence};

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
    TooManyMissingClaims { limit: usize },
    #[error(
        "everything of a type was asked for, or given up, more than {limit} times without an \
         answer in between"
    )]
    Restless { limit: u32 },
}

/// The state of one discovery stream.
#[derive(Debug)]
pub(crate) struct Machine {
    transport: Transport,
    /// Identifies this start of this server. Part of every nonce.
    instance: Arc<str>,
    terms: Terms,
    published: Option<Arc<PublishedSnapshot>>,
    substreams: Substreams,
    /// One bit per type: whether its status may have changed since the last call of
    /// [`Machine::changes`].
    touched: u16,
    completeness: Completeness,
    unserved: UnservedTypes,
    /// What the client may have from an earlier stream without reporting it.
    unconfirmed: Option<Box<UnconfirmedByType>>,
    /// How many of the resources that the client claimed to have do not exist.
    missing_claims: usize,
    /// Requests since the client's last answer whose cost depends on the number of resources instead
    /// of the size of the request.
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
            unserved: UnservedTypes::default(),
            unconfirmed: None,
            missing_claims: 0,
            wide_requests: 0,
        }
    }

    /// Must be called before the first request.
    pub(crate) fn set_unconfirmed(&mut self, unconfirmed: Option<Box<UnconfirmedByType>>) {
        self.unconfirmed = unconfirmed;
    }

    /// What the client may have and will not report on its next stream, for each type that it asked
    /// for.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (ResourceType, UnconfirmedResources)> {
        let substreams = self.substreams.iter().flatten();
        substreams.map(|substream| (substream.kind(), substream.unconfirmed()))
    }

    /// Enters the newest snapshot of the client's group.
    pub(crate) fn publish(&mut self, published: Arc<PublishedSnapshot>) {
        for kind in ResourceType::ALL {
            let at = kind.index();
            let Some(substream) = self.substreams[at].as_deref_mut() else {
                continue;
            };
            let from = substream.client().version();
            let changes = from.and_then(|from| published.changes(kind, from));
            if !substream.rebase(published.snapshot.set(kind), changes) {
                continue;
            }
            self.touched |= 1 << at;
            if kind == ResourceType::Cluster
                && let Some(clusters) = &self.substreams[at]
            {
                let endpoints = self.substreams[ResourceType::Endpoints.index()].as_ref();
                let endpoints = endpoints.map(|endpoints| endpoints.client());
                self.completeness
                    .on_clusters_changed(changes, clusters.client(), endpoints);
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
        self.check_lists(kind, lists + request.initial_versions.len())?;
        let first = self.open(kind);
        let all = first && self.terms.legacy_wildcard;
        let Some(substream) = self.substreams[kind.index()].as_deref_mut() else {
            return Ok(());
        };
        if substream.answer(&request.reply, &self.instance, now) {
            self.wide_requests = 0;
        }
        let mut change = substream.client_mut().change_subscription(
            all,
            &request.subscribe,
            &request.unsubscribe,
        );
        if first {
            let limit = self.terms.bounds.names;
            let unconfirmed = self.unconfirmed.as_deref().map(|all| all.of(kind));
            self.missing_claims += substream.enter_claims(&request.initial_versions, unconfirmed);
            if self.missing_claims > limit {
                return Err(Violation::TooManyMissingClaims { limit });
            }
            // A resource that the client claims to have is sent only if it differs. Endpoints are
            // always sent.
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
        self.check_lists(kind, request.names.len())?;
        let first = self.open(kind);
        let Some(substream) = self.substreams[kind.index()].as_deref_mut() else {
            return Ok(());
        };
        if !first && !substream.is_latest(&request.reply.nonce, &self.instance) {
            // The request crossed a response. The client repeats its names when it answers that.
            return Ok(());
        }
        if substream.answer(&request.reply, &self.instance, now) {
            self.wide_requests = 0;
        }
        let all = self.terms.legacy_wildcard;
        let change = substream
            .client_mut()
            .replace_subscription(first, all, &request.names);
        if first {
            let unconfirmed = self.unconfirmed.as_deref().map(|all| all.of(kind));
            substream.enter_claimed_version(&request.version, unconfirmed);
        }
        self.change(kind, first, &change)
    }

    /// Enters a request for a type that is not served. It gets no answer. Returns whether it is the
    /// first one for this type.
    pub(crate) fn unserved(&mut self, type_url: &str) -> bool {
        self.unserved.insert(type_url)
    }

    /// The newest sequence, if the client has acknowledged all of its content, for every type that
    /// it subscribes to.
    pub(crate) fn synced_to(&mut self) -> Option<Sequence> {
        let published = self.published.as_ref()?;
        let newest = published.sequence;
        let mut substreams = self.substreams.iter().flatten().peekable();
        substreams.peek()?;
        let synced = substreams.all(|substream| substream.sync_state() == SyncState::Synced);
        let complete = self.terms.alone
            || (!completeness::has_only_begun(&self.substreams, published)
                && self.completeness.is_complete(&self.substreams));
        (synced && complete).then_some(newest)
    }

    /// The sequence of the newest snapshot.
    pub(crate) fn newest(&self) -> Option<Sequence> {
        self.published.as_ref().map(|published| published.sequence)
    }

    /// The status of each type that may have changed since the last call.
    pub(crate) fn changes(&mut self) -> impl Iterator<Item = TypeStatus> {
        let touched = std::mem::take(&mut self.touched);
        let substreams = self.substreams.iter().enumerate();
        substreams
            .filter(move |(at, _)| touched & (1 << at) != 0)
            .filter_map(|(_, substream)| substream.as_deref())
            .map(Substream::status)
    }

    /// Refuses a request with more names than an honest client can have: in each list the names
    /// that it may subscribe to, and what it may have of the snapshot.
    fn check_lists(&self, kind: ResourceType, listed: usize) -> Result<(), Violation> {
        let published = self.published.as_ref();
        let present = published.map_or(0, |published| published.snapshot.set(kind).len());
        let subscribed = self.terms.bounds.names.saturating_mul(LISTS);
        let limit = subscribed.saturating_add(present);
        if listed > limit {
            return Err(Violation::LongLists {
                kind,
                listed,
                limit,
            });
        }
        Ok(())
    }

    /// Creates the substream of a type on the first request for it. Returns whether it is the first.
    fn open(&mut self, kind: ResourceType) -> bool {
        let substream = &mut self.substreams[kind.index()];
        if substream.is_some() {
            return false;
        }
        let published = self.published.as_ref();
        let newest = published.map(|published| Arc::clone(published.snapshot.set(kind)));
        *substream = Some(Box::new(Substream::new(kind, self.transport, newest)));
        true
    }

    /// Enters a change of the subscription of a type.
    fn change(
        &mut self,
        kind: ResourceType,
        first: bool,
        change: &SubscriptionChange,
    ) -> Result<(), Violation> {
        self.touched |= 1 << kind.index();
        if !first && *change == SubscriptionChange::default() {
            return Ok(());
        }
        self.wide_requests += u32::from(change.is_wide());
        self.check_bounds()?;
        if let Some(substream) = self.substreams[kind.index()].as_deref_mut() {
            substream.apply(first, change);
        }
        if kind == ResourceType::Endpoints && !change.drops() {
            if let Some(endpoints) = &self.substreams[kind.index()] {
                let endpoints = endpoints.client();
                self.completeness.on_endpoints_subscribed(endpoints);
            }
        } else if matches!(kind, ResourceType::Cluster | ResourceType::Endpoints) {
            self.completeness.reset();
        }
        Ok(())
    }

    fn check_bounds(&self) -> Result<(), Violation> {
        let Bounds {
            names,
            name_bytes,
            wide_requests,
            answer: _,
        } = self.terms.bounds;
        let substreams = self.substreams.iter().flatten();
        let subscriptions = substreams.map(|substream| substream.client().subscription());
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

/// The lists of a delta request: subscribe, unsubscribe, initial versions.
const LISTS: usize = 3;
