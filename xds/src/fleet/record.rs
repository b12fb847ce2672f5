//! What is recorded about a node over its streams.

use std::{collections::VecDeque, sync::Arc};

use tokio::time::Instant;

use super::status::{Delivery, NodeRecord};
use crate::{
    peer::Peer,
    resource::ResourceType,
    stream::{Nack, TypeStatus},
};

/// Collects NACKs as they come, and the deliveries of streams that have ended. Those of an open stream
/// are in the stream's own entry, so an ACK is written once.
#[derive(Debug, Default)]
pub(super) struct Record {
    deliveries: Vec<Delivery>,
    nacks: VecDeque<Arc<Nack>>,
    nack_count: u64,
    /// When the last stream ended, and the peer of that stream.
    pub(super) gone: Option<Instant>,
    pub(super) peer: Option<Peer>,
}

impl Record {
    pub(super) fn add_nack(&mut self, nack: Arc<Nack>) {
        if self.nacks.len() == NodeRecord::MAX_NACKS {
            self.nacks.pop_front();
        }
        self.nacks.push_back(nack);
        self.nack_count += 1;
    }

    /// Adds the deliveries of an ended stream.
    pub(super) fn absorb(&mut self, types: &[TypeStatus], peer: Peer, now: Instant) {
        self.deliveries = self.deliveries_with(types.iter());
        self.peer = Some(peer);
        self.gone = Some(now);
    }

    /// The newest deliveries by type, of ended streams and of `open` ones.
    pub(super) fn deliveries_with<'a>(
        &self,
        open: impl Iterator<Item = &'a TypeStatus>,
    ) -> Vec<Delivery> {
        let mut all: Vec<_> = self.deliveries.clone();
        for status in open {
            let Some(own) = all.iter_mut().find(|own| own.kind == status.kind) else {
                all.push(Delivery::from(status));
                continue;
            };
            own.merge(status);
        }
        all.retain(|delivery| delivery.sent.is_some());
        all.sort_unstable_by_key(|delivery| delivery.kind.index());
        all
    }

    pub(super) fn nacks(&self) -> Vec<Arc<Nack>> {
        self.nacks.iter().cloned().collect()
    }

    pub(super) fn nack_count(&self) -> u64 {
        self.nack_count
    }
}

impl Delivery {
    fn merge(&mut self, status: &TypeStatus) {
        newest(&mut self.sent, &status.sent, |sent| sent.at);
        newest(&mut self.acknowledged, &status.acknowledged, |ack| ack.at);
        newest(&mut self.nacked, &status.nacked, |nack| nack.at);
    }
}

fn newest<T: Clone>(own: &mut Option<T>, other: &Option<T>, at: fn(&T) -> Instant) {
    if other.as_ref().map(at) > own.as_ref().map(at) {
        own.clone_from(other);
    }
}

impl From<&TypeStatus> for Delivery {
    fn from(status: &TypeStatus) -> Self {
        Self {
            kind: status.kind,
            sent: status.sent.clone(),
            acknowledged: status.acknowledged.clone(),
            nacked: status.nacked.clone(),
        }
    }
}

/// Replaces the status of one type on one stream. Returns its NACK if that is new.
pub(super) fn enter(types: &mut Vec<TypeStatus>, status: TypeStatus) -> Option<Arc<Nack>> {
    let index = |kind: ResourceType| kind.index();
    let at = types.partition_point(|own| index(own.kind) < index(status.kind));
    let nack = status.nacked.clone();
    let former = match types.get_mut(at) {
        Some(own) if own.kind == status.kind => std::mem::replace(own, status).nacked,
        Some(_) | None => {
            types.reserve_exact(1);
            types.insert(at, status);
            None
        }
    };
    match (nack, former) {
        (Some(nack), Some(former)) if Arc::ptr_eq(&nack, &former) => None,
        (nack, _) => nack,
    }
}
