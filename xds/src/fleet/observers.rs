//! Clients that are served and not counted.

use std::sync::{Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::time::Instant;

use crate::{group::Group, node::NodeId, peer::Peer};

/// An open stream that is served what `node` is served, and that no barrier and no status counts.
#[derive(Clone, Debug)]
pub struct Observer {
    /// Whose resources it is sent.
    pub node: NodeId,
    pub group: Group,
    pub peer: Peer,
    /// What it says of its version; empty if it says nothing.
    pub version: String,
    pub since: Instant,
    /// When its last request came.
    pub heard: Instant,
}

/// The open streams of observers.
#[derive(Debug, Default)]
pub(super) struct Observers(Mutex<Slab<Observer>>);

impl Observers {
    /// Adds a stream, and returns its number.
    pub(super) fn add(&self, observer: Observer) -> usize {
        self.open().insert(observer)
    }

    /// Its request came `at` this time.
    pub(super) fn hear(&self, number: usize, at: Instant) {
        if let Some(observer) = self.open().get_mut(number) {
            observer.heard = at;
        }
    }

    pub(super) fn remove(&self, number: usize) {
        self.open().try_remove(number);
    }

    /// All of them, by node.
    pub(super) fn all(&self) -> Vec<Observer> {
        let mut all: Vec<_> = self.open().iter().map(|(_, one)| one.clone()).collect();
        all.sort_by(|a, b| a.node.cmp(&b.node));
        all
    }

    fn open(&self) -> MutexGuard<'_, Slab<Observer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
