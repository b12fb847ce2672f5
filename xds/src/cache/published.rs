use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use super::Sequence;
use crate::{
    resource::{Change, ResourceSet, ResourceType, Version},
    snapshot::Snapshot,
    stream::Nonce,
};

/// A snapshot, the publish that it came with, and what it changed: worked out once, so that a
/// stream looks at the changes and not at the whole.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) sequence: Sequence,
    pub(crate) snapshot: Snapshot,
    changes: [Option<Arc<Changes>>; ResourceType::ALL.len()],
    nonce: OnceLock<(Arc<str>, Arc<str>)>,
}

/// From one set of a type to the next one.
#[derive(Debug)]
pub(super) struct Changes {
    from: Version,
    list: Vec<Change>,
}

/// The pairs of sets that one publish has compared: groups share most of their sets.
pub(super) type Compared = HashMap<(*const ResourceSet, *const ResourceSet), Arc<Changes>>;

impl Published {
    pub(super) fn new(
        sequence: Sequence,
        snapshot: Snapshot,
        former: Option<&Self>,
        compared: &mut Compared,
    ) -> Self {
        let changes = ResourceType::ALL.map(|kind| {
            let (old, new) = (former?.snapshot.set(kind), snapshot.set(kind));
            let pair = (Arc::as_ptr(old), Arc::as_ptr(new));
            let changes = compared.entry(pair).or_insert_with(|| {
                Arc::new(Changes {
                    from: old.version(),
                    list: new.changes_since(old),
                })
            });
            Some(Arc::clone(changes))
        });
        Self {
            sequence,
            snapshot,
            changes,
            nonce: OnceLock::new(),
        }
    }

    /// The same content under a newer sequence.
    pub(super) fn again(&self, sequence: Sequence) -> Self {
        let mut compared = Compared::default();
        Self::new(sequence, self.snapshot.clone(), Some(self), &mut compared)
    }

    /// Outside of a cache.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn after(sequence: Sequence, snapshot: Snapshot, former: Option<&Self>) -> Self {
        Self::new(sequence, snapshot, former, &mut Compared::default())
    }

    /// What changed since the group's former snapshot, if that held the set with the version
    /// `from`.
    pub(crate) fn changes(&self, kind: ResourceType, from: Version) -> Option<&[Change]> {
        let changes = self.changes[kind.index()].as_ref()?;
        (changes.from == from).then_some(&*changes.list)
    }

    /// The nonce of a response that is cut from this snapshot by the server that calls itself
    /// `instance`. All its streams share the one of their first.
    pub(crate) fn nonce(&self, instance: &Arc<str>, repeat: u32) -> Arc<str> {
        let sequence = self.sequence;
        let make = || Arc::<str>::from(Nonce { sequence, repeat }.text(instance));
        if repeat > 0 {
            return make();
        }
        let (owner, nonce) = self.nonce.get_or_init(|| (Arc::clone(instance), make()));
        if owner == instance {
            Arc::clone(nonce)
        } else {
            make()
        }
    }
}
