//! Names that were NACKed in one response are sent again one by one. Each answer costs one step,
//! however many names there are.

use std::sync::Arc;

use super::{client_state::ClientState, order::Phase, outgoing::Outgoing};

/// Names that were NACKed in one response, ascending.
#[derive(Debug, Default)]
pub(super) struct NackedBatch {
    pub(super) upserts: Vec<Arc<str>>,
    pub(super) removals: Vec<Arc<str>>,
}

/// The names of one phase that are sent one by one, as long as nothing else must be sent.
#[derive(Debug)]
pub(super) struct RetryQueue {
    first: Arc<str>,
    /// In reverse order: the last one is next.
    rest: Vec<Arc<str>>,
    removes: bool,
    /// Whether other names follow in a later phase.
    more: bool,
}

impl NackedBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }
}

impl RetryQueue {
    /// The names of `batch` that may be sent in `phase`; `None` if there are none.
    pub(super) fn new(batch: NackedBatch, phase: Phase) -> Option<Box<Self>> {
        let NackedBatch { upserts, removals } = batch;
        let removes = upserts.is_empty() || !phase.upserts();
        if removes && !phase.removes() {
            return None;
        }
        let (mut rest, others) = if removes {
            (removals, upserts)
        } else {
            (upserts, removals)
        };
        rest.reverse();
        Some(Box::new(Self {
            first: rest.pop()?,
            rest,
            removes,
            more: !others.is_empty(),
        }))
    }

    pub(super) fn is_sent_in(&self, phase: Phase) -> bool {
        if self.removes {
            phase.removes()
        } else {
            phase.upserts()
        }
    }

    /// The first name's resource, or its removal.
    pub(super) fn outgoing(&self, client: &ClientState) -> Outgoing {
        let (resources, removed) = match client.newest(&self.first) {
            Some(resource) => (vec![resource.clone()], Vec::new()),
            None => (Vec::new(), vec![Arc::clone(&self.first)]),
        };
        Outgoing {
            resources,
            removed,
            incomplete: self.more || !self.rest.is_empty(),
            ..Outgoing::default()
        }
    }

    /// The queue without its first name.
    pub(super) fn rest(mut self: Box<Self>) -> Option<Box<Self>> {
        self.first = self.rest.pop()?;
        Some(self)
    }
}
