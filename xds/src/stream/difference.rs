//! What one type owes its client, cut from one snapshot. Only the names that are open are looked
//! at.

use std::sync::Arc;

use super::{
    Transport,
    open::{Entry, Known, NackMark},
    order::Phase,
    retry_queue::{NackedBatch, RetryQueue},
    substream::{Outgoing, Substream, SyncState},
};
use crate::resource::{Resource, ResourceType, Version};

/// What a step of the order finds.
#[derive(Debug)]
pub(super) enum Taken {
    Nothing,
    /// Content is ready, and may not go before other types are acknowledged.
    Blocked,
    Send {
        outgoing: Outgoing,
        version: Version,
    },
}

/// The differences between what the client has and what it must have.
#[derive(Debug, Default)]
struct Difference {
    upserts: Vec<Resource>,
    /// Names that were asked for and do not exist.
    missing: Vec<Arc<str>>,
    /// The same of names that a client waits for.
    absent: Vec<Arc<str>>,
    removals: Vec<Arc<str>>,
    /// To be sent one by one.
    nacked_batch: NackedBatch,
}

impl Substream {
    /// What may go out in `phase`; `open` says whether the types that this step waits for are
    /// acknowledged. Nothing may be in flight.
    pub(super) fn take(&mut self, phase: Phase, open: bool) -> Taken {
        let taken = if self.is_full_state() {
            self.take_full_state(phase, open)
        } else {
            self.take_changes(phase, open)
        };
        if matches!(taken, Taken::Nothing) && phase.removes() {
            self.blocked_since = None;
            self.settle();
        }
        taken
    }

    fn take_changes(&mut self, phase: Phase, open: bool) -> Taken {
        let outgoing = match &self.retry_queue {
            Some(retry_queue) => retry_queue.goes_in(phase).then(|| self.alone(retry_queue)),
            None => {
                let difference = self.difference();
                self.choose(difference, phase, open)
            }
        };
        let Some(outgoing) = outgoing else {
            return Taken::Nothing;
        };
        if !open && !outgoing.is_empty() {
            return Taken::Blocked;
        }
        self.retry_queue = self.retry_queue.take().and_then(RetryQueue::rest);
        Taken::Send {
            outgoing,
            version: self.version().unwrap_or(Version::EMPTY),
        }
    }

    /// One response: everything at once, then what is under suspicion, one by one.
    fn choose(&mut self, found: Difference, phase: Phase, open: bool) -> Option<Outgoing> {
        let Difference {
            upserts,
            missing,
            absent,
            removals,
            nacked_batch,
        } = found;
        let removes = !removals.is_empty();
        let mut outgoing = Outgoing {
            partial: !nacked_batch.is_empty(),
            ..Outgoing::default()
        };
        if phase.upserts() {
            outgoing.resources = upserts;
            outgoing.removed = missing;
            outgoing.absent = absent;
        }
        if phase.removes() && (open || phase != Phase::Remove || !self.answer_owed) {
            outgoing.removed.extend(removals);
        }
        if !outgoing.is_empty() {
            return Some(outgoing);
        }
        self.retry_queue = RetryQueue::new(nacked_batch, phase);
        if let Some(retry_queue) = &self.retry_queue {
            return Some(self.alone(retry_queue));
        }
        // An empty answer is left to the removals, if there are any, so that one response
        // does for both.
        let later = phase == Phase::Upsert && removes;
        (self.answer_owed && !later).then_some(outgoing)
    }

    /// The next of the retry_queue.
    fn alone(&self, retry_queue: &RetryQueue) -> Outgoing {
        let name = retry_queue.first();
        let (resources, removed) = match self.get(name) {
            Some(resource) => (vec![resource.clone()], Vec::new()),
            None => (Vec::new(), vec![Arc::clone(name)]),
        };
        Outgoing {
            resources,
            removed,
            partial: retry_queue.is_followed(),
            ..Outgoing::default()
        }
    }

    /// Names that turn out to be settled are closed.
    fn difference(&mut self) -> Difference {
        let mut found = Difference::default();
        let Self {
            open,
            base,
            transport,
            kind,
            ..
        } = self;
        open.retain(|name, entry| {
            let current = base.as_ref().and_then(|base| base.get(name));
            entry.forget_outdated(current.map(Resource::version));
            match current {
                Some(resource) => found.compare(resource, entry),
                // A name that has vanished is forgotten, so that its return is sent.
                None if *transport == Transport::StateOfTheWorld => false,
                None => found.compare_absent(*kind, name, entry),
            }
        });
        found
    }

    /// Nothing is left to send: either the client has everything, or it has refused the rest.
    fn settle(&mut self) {
        self.sync_state = if self.open.is_empty() {
            self.claims_untrusted = false;
            SyncState::Synced
        } else {
            SyncState::Nacked
        };
    }
}

impl Difference {
    /// Says whether the name stays open.
    fn compare(&mut self, resource: &Resource, entry: &Entry) -> bool {
        if !entry.owed {
            if entry.known.is(resource.version()) {
                return false;
            }
            if matches!(entry.nack, NackMark::Alone(_)) {
                return true;
            }
        }
        if matches!(entry.nack, NackMark::InBatch(_)) {
            self.nacked_batch.upserts.push(Arc::clone(resource.name()));
        } else {
            self.upserts.push(resource.clone());
        }
        true
    }

    /// Says whether the name stays open.
    fn compare_absent(&mut self, kind: ResourceType, name: &Arc<str>, entry: &Entry) -> bool {
        let has_nothing = matches!(entry.known, Known::Nothing);
        if entry.owed {
            let said = if has_nothing && kind.is_on_demand() {
                &mut self.absent
            } else {
                &mut self.missing
            };
            said.push(Arc::clone(name));
            return true;
        }
        if has_nothing {
            return false;
        }
        match entry.nack {
            NackMark::None => self.removals.push(Arc::clone(name)),
            NackMark::InBatch(_) => self.nacked_batch.removals.push(Arc::clone(name)),
            NackMark::Alone(_) => {}
        }
        true
    }
}
