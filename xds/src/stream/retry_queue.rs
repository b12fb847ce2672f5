//! Names that were refused beside others go out again one by one. However many they are, an
//! answer costs one step.

use std::sync::Arc;

use super::order::Phase;

/// By name, ascending.
#[derive(Debug, Default)]
pub(super) struct NackedBatch {
    pub(super) upserts: Vec<Arc<str>>,
    pub(super) removals: Vec<Arc<str>>,
}

/// Those of one phase, for as long as nothing else is to be sent.
#[derive(Debug)]
pub(super) struct RetryQueue {
    first: Arc<str>,
    /// The last comes next.
    rest: Vec<Arc<str>>,
    removes: bool,
    /// Others come in a later phase.
    more: bool,
}

impl NackedBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removals.is_empty()
    }
}

impl RetryQueue {
    /// Those that may go out in `phase`, if there are any.
    pub(super) fn new(nacked_batch: NackedBatch, phase: Phase) -> Option<Box<Self>> {
        let NackedBatch { upserts, removals } = nacked_batch;
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

    pub(super) fn goes_in(&self, phase: Phase) -> bool {
        if self.removes {
            phase.removes()
        } else {
            phase.upserts()
        }
    }

    pub(super) fn first(&self) -> &Arc<str> {
        &self.first
    }

    /// Whether others go out after the first.
    pub(super) fn is_followed(&self) -> bool {
        self.more || !self.rest.is_empty()
    }

    /// Without the first.
    pub(super) fn rest(mut self: Box<Self>) -> Option<Box<Self>> {
        self.first = self.rest.pop()?;
        Some(self)
    }
}
