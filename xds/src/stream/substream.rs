//! One type on one stream: what the client wants, what it has, what is on its way. Nothing here
//! crosses types.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    Acknowledged, Nack, Sent, Transport, TypeState, TypeStatus,
    open::{Entry, Known, NackMark, Open},
    order::PATIENCE,
    retry_queue::RetryQueue,
    subscription::{Change, Subscription},
    unconfirmed::UnconfirmedResources,
};
use crate::{
    nonce::Nonce,
    published::PublishedSnapshot,
    resource::{Resource, ResourceSet, ResourceType, Version},
};

/// Most of it is empty most of the time: a client that has everything costs its names and
/// this.
#[derive(Debug)]
pub(super) struct Substream {
    pub(super) kind: ResourceType,
    pub(super) transport: Transport,
    pub(super) sync_state: SyncState,
    /// What the client says that it kept does not count, until it has everything.
    pub(super) claims_untrusted: bool,
    /// Types that are always sent full_state: the client may have what it does not want any more,
    /// until it gets the next whole.
    pub(super) leftovers: bool,
    /// A response is owed even if there is nothing to put in.
    pub(super) answer_owed: bool,
    /// Which response of its sequence the last one was, from 0.
    repeat: u32,
    pub(super) subscription: Subscription,
    /// What the newest snapshot holds, if there is one.
    pub(super) base: Option<Arc<ResourceSet>>,
    /// The names that are not settled. Under every other name that the client wants it has
    /// acknowledged what `base` holds.
    pub(super) open: Open,
    /// Of the open names, those that go out next, one by one.
    pub(super) retry_queue: Option<Box<RetryQueue>>,
    /// State of the world: the version that the client says it kept, until that is compared.
    pub(super) claimed: Option<Box<Version>>,
    /// State of the world, types that are sent in full: the version of the full state that was NACKed.
    pub(super) nacked_full_state: Option<Version>,
    pub(super) in_flight: Option<InFlight>,
    /// Since when content waits for other types, all sent, to be acknowledged.
    pub(super) blocked_since: Option<Instant>,
    /// When the client must hear of what would otherwise end its time to live.
    pub(super) beat: Option<Instant>,
    pub(super) sent: Option<Sent>,
    pub(super) acknowledged: Option<Acknowledged>,
    pub(super) nacked: Option<Arc<Nack>>,
}

/// The last response that was sent, while it is not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Shared with the response.
    pub(super) resources: Arc<[Resource]>,
    /// Names that are said not to exist, in whichever way.
    pub(super) removed: Box<[Arc<str>]>,
    /// Names whose acknowledgement says nothing any more.
    pub(super) void: BTreeSet<Arc<str>>,
    /// The version of the whole content.
    pub(super) version: Version,
    /// Something has come up since that must be sent too.
    pub(super) outdated: bool,
    /// Not answered in time.
    pub(super) overdue: bool,
    /// It says that the client may keep what it has, and nothing else.
    pub(super) heartbeat: bool,
}

/// Where the client is, relative to the newest snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SyncState {
    /// Not computed yet, or something is still to be sent or acknowledged.
    Pending,
    /// The client has acknowledged everything.
    Synced,
    /// The client has acknowledged everything except what it NACKed.
    Nacked,
}

/// How far a type is, towards the newest snapshot; what follows in the order looks at this.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Progress {
    Done,
    /// Everything is on its way and not acknowledged.
    Sent,
    /// Something waits to be sent.
    Unsent,
}

/// What [`Substream::send`] puts on its way.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) resources: Vec<Resource>,
    pub(super) removed: Vec<Arc<str>>,
    pub(super) absent: Vec<Arc<str>>,
    /// Those of `resources` that the client does not have in this version; all, if `None`.
    pub(super) changed: Option<Vec<Resource>>,
    /// More is to follow.
    pub(super) partial: bool,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty() && self.absent.is_empty()
    }
}

impl Substream {
    pub(super) fn new(
        kind: ResourceType,
        transport: Transport,
        base: Option<Arc<ResourceSet>>,
    ) -> Self {
        Self {
            kind,
            transport,
            sync_state: SyncState::Pending,
            claims_untrusted: false,
            leftovers: false,
            answer_owed: false,
            repeat: 0,
            subscription: Subscription::default(),
            base,
            open: Open::default(),
            retry_queue: None,
            claimed: None,
            nacked_full_state: None,
            in_flight: None,
            blocked_since: None,
            beat: None,
            sent: None,
            acknowledged: None,
            nacked: None,
        }
    }

    pub(super) fn is_full_state(&self) -> bool {
        self.transport.sends_full_state(self.kind)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Resource> {
        self.base.as_ref()?.get(name)
    }

    /// `initial_resource_versions`: what the client kept from an earlier stream. Endpoints
    /// are sent on a new stream whatever the client has, since Envoy may hold them for a
    /// cluster that it is warming anew.
    ///
    /// Says how many of them exist no more.
    pub(super) fn remember(
        &mut self,
        versions: &HashMap<String, String>,
        unconfirmed: &UnconfirmedResources,
    ) -> usize {
        self.claims_untrusted = unconfirmed.claims_untrusted;
        let mut gone = 0;
        for (name, version) in versions {
            if !self.subscription.covers(name) {
                continue;
            }
            let ours = if self.kind == ResourceType::Endpoints || self.claims_untrusted {
                None
            } else {
                Version::parse(version)
            };
            let entry = Entry {
                known: ours.map_or(Known::Claimed, Known::Version),
                ..Entry::default()
            };
            self.open.insert(&name.as_str().into(), entry);
            gone += usize::from(self.get(name).is_none());
        }
        for name in unconfirmed.names.iter() {
            if self.subscription.covers(name) {
                self.open.insert(name, Entry::unknown());
            }
        }
        gone
    }

    /// Enters a change of the subscription.
    pub(super) fn apply(&mut self, first: bool, change: &Change) {
        self.reopen();
        self.open_new(change);
        self.leftovers |= self.is_full_state() && self.leaves(change);

        if change.asked_all {
            self.answer_owed = true;
            // Asked for a second time, everything is sent again. The first time, the client
            // gets what it does not have.
            if !first && !self.is_full_state() {
                self.owe_all();
            }
        }
        if self.is_full_state() {
            self.answer_owed |= first || !change.asked.is_empty();
        } else {
            for asked in &change.asked {
                self.entry(&asked.name).owed = true;
            }
        }
        for name in &change.gone {
            if !self.subscription.covers(name) {
                self.open.remove(name);
            }
        }
        if change.narrowed {
            let subscription = &self.subscription;
            self.open.retain(|name, _| subscription.covers(name));
        }
    }

    /// The client is about to forget what it has under `name`: it must get it again, and
    /// what is on its way will not count.
    pub(super) fn void(&mut self, name: &Arc<str>) {
        if !self.subscription.covers(name) {
            return;
        }
        self.reopen();
        let entry = Entry {
            owed: true,
            ..Entry::unknown()
        };
        self.open.insert(name, entry);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.void.insert(Arc::clone(name));
        }
    }

    /// Marks content that is cut from `published` as on its way; returns its nonce.
    pub(super) fn send(
        &mut self,
        content: InFlight,
        published: &PublishedSnapshot,
        instance: &Arc<str>,
        now: Instant,
    ) -> Arc<str> {
        let sent = content.resources.iter().map(Resource::name);
        for name in sent.chain(&content.removed) {
            if let Some(entry) = self.open.get_mut(name) {
                entry.owed = false;
            }
        }
        self.answer_owed = false;
        self.blocked_since = None;
        self.sync_state = SyncState::Pending;
        self.in_flight = Some(content);
        self.number(published, instance, now)
    }

    /// Takes note of a response that is sent now; returns its nonce.
    pub(super) fn number(
        &mut self,
        published: &PublishedSnapshot,
        instance: &Arc<str>,
        now: Instant,
    ) -> Arc<str> {
        let sequence = published.sequence;
        let again = self
            .sent
            .as_ref()
            .is_some_and(|sent| sent.sequence == sequence);
        self.repeat = if again { self.repeat + 1 } else { 0 };
        self.sent = Some(Sent { sequence, at: now });
        published.nonce(instance, self.repeat)
    }

    /// Whether it is the nonce of the last response that was sent or, before there is one, none.
    pub(super) fn is_latest(&self, nonce: &str, instance: &str) -> bool {
        match self.latest_nonce() {
            Some(latest) => Nonce::parse(nonce, instance) == Some(latest),
            None => nonce.is_empty(),
        }
    }

    /// Of the last response that was sent.
    pub(super) fn latest_nonce(&self) -> Option<Nonce> {
        let sequence = self.sent.as_ref()?.sequence;
        let repeat = self.repeat;
        Some(Nonce { sequence, repeat })
    }

    pub(super) fn progress(&self) -> Progress {
        match &self.in_flight {
            Some(in_flight) if !in_flight.outdated => Progress::Sent,
            Some(_) | None => Progress::Unsent,
        }
    }

    pub(super) fn is_out_of_patience(&self, now: Instant) -> bool {
        self.blocked_since
            .is_some_and(|since| now >= since + PATIENCE)
    }

    pub(super) fn status(&self) -> TypeStatus {
        TypeStatus {
            kind: self.kind,
            state: self.state(),
            sent: self.sent.clone(),
            acknowledged: self.acknowledged.clone(),
            nacked: self.nacked.clone(),
        }
    }

    pub(super) fn state(&self) -> TypeState {
        match self.sync_state {
            SyncState::Synced => TypeState::Synced,
            SyncState::Nacked => TypeState::Nacked {
                message: self
                    .nacked
                    .as_ref()
                    .map_or_else(|| "".into(), |nack| Arc::clone(&nack.message)),
                resources: self.refused_names(),
            },
            SyncState::Pending => match (&self.in_flight, &self.sent) {
                (Some(in_flight), Some(sent)) if in_flight.overdue => {
                    TypeState::Lagging { since: sent.at }
                }
                (_, None) => TypeState::NotSent,
                _ => TypeState::Stale,
            },
        }
    }

    /// The entry of a name that the client wants, made if the name was settled.
    pub(super) fn entry(&mut self, name: &Arc<str>) -> &mut Entry {
        let full_state = self.is_full_state();
        let base = self.base.as_ref();
        self.open.entry(name, || {
            Entry::of(base.and_then(|base| base.get(name)), full_state)
        })
    }

    /// Whatever was worked out must be worked out anew, and what is on its way is not all.
    pub(super) fn reopen(&mut self) {
        self.sync_state = SyncState::Pending;
        self.retry_queue = None;
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.outdated = true;
        }
    }

    /// What was not wanted before is not known to be there, whatever `base` holds.
    fn open_new(&mut self, change: &Change) {
        let new = || Entry {
            known: if self.leftovers {
                Known::Unknown
            } else {
                Known::Nothing
            },
            ..Entry::default()
        };
        for asked in change.asked.iter().filter(|asked| asked.new) {
            self.open.entry(&asked.name, new);
        }
        if !change.widened {
            return;
        }
        let former = change.asked.iter().filter(|asked| !asked.new);
        let former: BTreeSet<_> = former.map(|asked| &asked.name).collect();
        let all = self.base.iter().flat_map(|base| base.iter());
        for name in all.map(Resource::name) {
            if !self.subscription.has_name(name) && !former.contains(name) {
                self.open.entry(name, new);
            }
        }
    }

    /// Whether the client may have any of what it no longer wants.
    fn leaves(&self, change: &Change) -> bool {
        let may_have = |name: &Arc<str>| match self.open.get(name) {
            Some(entry) => !matches!(entry.known, Known::Nothing),
            None => self.get(name).is_some(),
        };
        let all = self.base.iter().flat_map(|base| base.iter());
        let all = all.map(Resource::name);
        let all = all.chain(self.open.iter().map(|(name, _)| name));
        change.gone.iter().any(may_have) || (change.narrowed && all.into_iter().any(may_have))
    }

    fn owe_all(&mut self) {
        let names = self.base.iter().flat_map(|base| base.iter());
        let names: Vec<_> = names.map(|resource| Arc::clone(resource.name())).collect();
        for name in names {
            self.entry(&name).owed = true;
        }
    }

    /// The names that the client refused and that are still what it should have, as many as are
    /// shown.
    fn refused_names(&self) -> Vec<Arc<str>> {
        let refused = |entry: &Entry| matches!(entry.nack, NackMark::Alone(_));
        let names = self.open.iter().filter(|(_, entry)| refused(entry));
        let names = names.map(|(name, _)| Arc::clone(name));
        names.take(TypeState::MAX_RESOURCES).collect()
    }
}
