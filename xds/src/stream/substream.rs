//! One type on one stream: what the client wants, what it has acknowledged, what is on its
//! way. Nothing here crosses types.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    Acknowledged, Nack, Reply, Sent, Transport,
    order::PATIENCE,
    subscription::{Change, Subscription},
};
use crate::{
    cache::{Published, Sequence},
    resource::{Resource, ResourceSet, ResourceType, Version},
};

#[derive(Debug)]
pub(super) struct Substream {
    pub(super) kind: ResourceType,
    pub(super) transport: Transport,
    pub(super) started: bool,
    pub(super) subscription: Subscription,
    /// Grows with each change of the subscription.
    pub(super) revision: u64,
    /// What the client has said that it has; moves on an ACK alone.
    pub(super) known: HashMap<Arc<str>, Known>,
    /// State of the world: the version that the client says it kept, until that is compared.
    pub(super) claimed: Option<Version>,
    /// To be sent, or said to be missing, whatever the client has.
    pub(super) owed: BTreeSet<Arc<str>>,
    /// A response is owed even if there is nothing to put in.
    pub(super) answer_owed: bool,
    pub(super) rejected: Rejected,
    pub(super) in_flight: Option<InFlight>,
    pub(super) standing: Standing,
    /// Since when content waits for other types, all sent, to be acknowledged.
    pub(super) blocked_since: Option<Instant>,
    pub(super) sent: Option<Sent>,
    pub(super) acknowledged: Option<Acknowledged>,
    pub(super) refused: Option<Arc<Nack>>,
    /// Which response of its sequence the last one was, from 0.
    nonces: Option<(Sequence, u32)>,
}

/// What the client has under a name.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// `None`: something, but not known to be anything of ours.
    pub(super) version: Option<Version>,
    /// Kept where an unchanged resource has to be sent again beside changed ones.
    pub(super) resource: Option<Resource>,
}

/// Content that the client refused, and what it said.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    /// By name: the version (`None`: the removal) that was refused when it came alone.
    pub(super) names: HashMap<Arc<str>, Option<Version>>,
    /// By name: the version that was refused beside others. Any of them may have been the
    /// cause, and the rest may be in use: each is sent once more, alone.
    pub(super) suspects: HashMap<Arc<str>, Option<Version>>,
    /// State of the world, types that are always sent whole: the whole that was refused.
    pub(super) whole: Option<Version>,
    pub(super) words: Arc<str>,
}

/// A response that has not been answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: Arc<str>,
    pub(super) sequence: Sequence,
    pub(super) sent_at: Instant,
    /// `None`: said to be removed or missing.
    pub(super) content: BTreeMap<Arc<str>, Option<Resource>>,
    /// Names whose acknowledgement says nothing any more.
    pub(super) void: BTreeSet<Arc<str>>,
    /// The version of the whole content.
    pub(super) version: Version,
    /// The version of the set that it was cut from.
    pub(super) cut_from: Version,
}

/// How the client stands towards the newest snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// To be worked out, or under way.
    Open,
    /// It has everything of the set with this version.
    Settled(Version),
    /// It has everything of the set with this version that it did not refuse.
    Refused(Version),
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
    /// Those of `resources` that the client does not have in this version.
    pub(super) changed: Vec<Resource>,
}

impl Substream {
    pub(super) fn new(kind: ResourceType, transport: Transport) -> Self {
        Self {
            kind,
            transport,
            started: false,
            subscription: Subscription::default(),
            revision: 0,
            known: HashMap::new(),
            claimed: None,
            owed: BTreeSet::new(),
            answer_owed: false,
            rejected: Rejected::default(),
            in_flight: None,
            standing: Standing::Open,
            blocked_since: None,
            sent: None,
            acknowledged: None,
            refused: None,
            nonces: None,
        }
    }

    /// Whether responses hold everything that is subscribed, so that absence deletes.
    pub(super) fn is_whole(&self) -> bool {
        self.transport == Transport::StateOfTheWorld
            && matches!(self.kind, ResourceType::Cluster | ResourceType::Listener)
    }

    /// Enters a change of the subscription. `set` is the newest snapshot's, if there is one.
    pub(super) fn apply(&mut self, change: Change, set: Option<&ResourceSet>) {
        let first = !std::mem::replace(&mut self.started, true);
        if !first && change == Change::default() {
            return;
        }
        self.revision += 1;
        self.standing = Standing::Open;
        if change.asked_all {
            self.answer_owed = true;
            // Asked for a second time, everything is sent again. The first time, the client
            // gets what it does not have.
            if !first && let Some(set) = set {
                self.owed.extend(set.resources().keys().cloned());
            }
        }
        if self.is_whole() {
            self.answer_owed |= first || !change.asked.is_empty();
        } else {
            self.owed.extend(change.asked);
        }
        if change.dropped {
            let subscription = &self.subscription;
            self.known.retain(|name, _| subscription.covers(name));
            self.owed.retain(|name| subscription.covers(name));
            self.rejected
                .names
                .retain(|name, _| subscription.covers(name));
            self.rejected
                .suspects
                .retain(|name, _| subscription.covers(name));
        }
    }

    /// Enters the client's answer to a response. An answer to anything but the response in
    /// flight says nothing about content.
    pub(super) fn answer(&mut self, reply: &Reply, now: Instant) -> bool {
        let Some(in_flight) = self
            .in_flight
            .take_if(|in_flight| *in_flight.nonce == *reply.nonce)
        else {
            return false;
        };
        self.standing = Standing::Open;
        match &reply.error {
            None => self.acknowledge(in_flight, now),
            Some(words) => self.refuse(in_flight, words, now),
        }
        true
    }

    /// The client is about to forget what it has under `name`: it must get it again, and
    /// what is on its way will not count.
    pub(super) fn void(&mut self, name: &Arc<str>) {
        if !self.started || !self.subscription.covers(name) {
            return;
        }
        self.standing = Standing::Open;
        self.known.remove(name);
        self.owed.insert(Arc::clone(name));
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.void.insert(Arc::clone(name));
        }
    }

    /// Marks `outgoing`, cut from `published`, as on its way; returns its nonce.
    pub(super) fn send(
        &mut self,
        outgoing: &Outgoing,
        whole: Version,
        published: &Published,
        instance: &str,
        now: Instant,
    ) -> Arc<str> {
        let sequence = published.sequence;
        let nonce = self.next_nonce(instance, sequence);
        let sent = outgoing
            .resources
            .iter()
            .map(|resource| (Arc::clone(resource.name()), Some(resource.clone())));
        let removed = outgoing.removed.iter().map(|name| (Arc::clone(name), None));
        let content: BTreeMap<_, _> = sent.chain(removed).collect();
        for name in content.keys() {
            self.owed.remove(name);
        }
        self.answer_owed = false;
        self.blocked_since = None;
        self.standing = Standing::Open;
        self.sent = Some(Sent {
            nonce: Arc::clone(&nonce),
            sequence,
            at: now,
        });
        self.in_flight = Some(InFlight {
            nonce: Arc::clone(&nonce),
            sequence,
            sent_at: now,
            content,
            void: BTreeSet::new(),
            version: whole,
            cut_from: published.snapshot.set(self.kind).version(),
        });
        nonce
    }

    pub(super) fn progress(&self, set: &ResourceSet) -> Progress {
        let all_sent = self.owed.is_empty()
            && self.rejected.suspects.is_empty()
            && self
                .in_flight
                .as_ref()
                .is_some_and(|in_flight| in_flight.cut_from == set.version());
        if all_sent {
            Progress::Sent
        } else {
            Progress::Unsent
        }
    }

    pub(super) fn is_out_of_patience(&self, now: Instant) -> bool {
        self.blocked_since
            .is_some_and(|since| now >= since + PATIENCE)
    }

    /// Whether nothing can have changed since the standing was worked out.
    pub(super) fn is_done_with(&self, set: &ResourceSet) -> bool {
        match self.standing {
            Standing::Open => false,
            Standing::Settled(version) | Standing::Refused(version) => version == set.version(),
        }
    }

    /// The names that the client refused and that are still what it should have.
    pub(super) fn refused_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.rejected.names.keys().map(Arc::clone).collect();
        names.sort_unstable();
        names
    }

    fn acknowledge(&mut self, in_flight: InFlight, now: Instant) {
        let whole = self.is_whole();
        if whole {
            self.known.clear();
            self.rejected.whole = None;
        }
        for (name, resource) in in_flight.content {
            self.rejected.names.remove(&name);
            self.rejected.suspects.remove(&name);
            match resource {
                Some(resource)
                    if self.subscription.covers(&name) && !in_flight.void.contains(&name) =>
                {
                    let known = Known {
                        version: Some(resource.version()),
                        resource: whole.then_some(resource),
                    };
                    self.known.insert(name, known);
                }
                Some(_) => {}
                None => {
                    self.known.remove(&name);
                }
            }
        }
        self.acknowledged = Some(Acknowledged {
            nonce: in_flight.nonce,
            version: in_flight.version,
            sequence: in_flight.sequence,
            at: now,
            after: now.saturating_duration_since(in_flight.sent_at),
        });
    }

    /// A refusal covers the response, not its members, and a client may have taken the valid
    /// ones: of several, each is unknown from here on.
    fn refuse(&mut self, in_flight: InFlight, words: &Arc<str>, now: Instant) {
        let names = in_flight.content.keys();
        let nack = Nack::new(self.kind, in_flight.sequence, now, words, names);
        self.rejected.words = Arc::clone(&nack.words);
        self.refused = Some(Arc::new(nack));
        let alone = in_flight.content.len() == 1;
        let whole = self.is_whole();
        if whole {
            self.rejected.whole = Some(in_flight.version);
        }
        for (name, resource) in in_flight.content {
            if !self.subscription.covers(&name) {
                continue;
            }
            let version = resource.as_ref().map(Resource::version);
            if alone && !whole {
                self.rejected.suspects.remove(&name);
                self.rejected.names.insert(name, version);
                continue;
            }
            if !alone {
                let unknown = Known {
                    version: None,
                    resource: None,
                };
                self.known.insert(Arc::clone(&name), unknown);
            }
            if !whole {
                self.rejected.suspects.insert(name, version);
            }
        }
    }

    /// The sequence makes an ACK name its publish by itself; what follows the point keeps
    /// several responses of one sequence apart.
    fn next_nonce(&mut self, instance: &str, sequence: Sequence) -> Arc<str> {
        let repeat = match self.nonces {
            Some((last, repeat)) if last == sequence => repeat + 1,
            Some(_) | None => 0,
        };
        self.nonces = Some((sequence, repeat));
        match repeat {
            0 => format!("{instance}-{sequence}").into(),
            repeat => format!("{instance}-{sequence}.{repeat}").into(),
        }
    }
}
