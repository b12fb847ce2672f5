use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use crate::{
    nonce::Nonce,
    resource::{ResourceChange, ResourceSet, ResourceType, Version},
    sequence::Sequence,
    snapshot::Snapshot,
};

/// A published snapshot of one group: its sequence, and its changes since the group's former
/// snapshot. The changes are computed once per publish; every stream uses them.
#[derive(Debug)]
pub(crate) struct PublishedSnapshot {
    pub(crate) sequence: Sequence,
    pub(crate) snapshot: Snapshot,
    /// The changes of each type; `None` in a group's first snapshot.
    changes: [Option<Arc<Changes>>; ResourceType::ALL.len()],
    /// The server instance that first asked for a nonce, and that nonce. All its streams share it.
    nonce: OnceLock<(Arc<str>, Arc<str>)>,
}

/// The changes from one resource set to its successor.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The version of the former set.
    from: Version,
    list: Vec<ResourceChange>,
}

/// The comparisons that one publish has made, by old and new set. Groups share most of their sets,
/// so most comparisons are made once for all of them.
pub(crate) type ComparedSets = HashMap<(*const ResourceSet, *const ResourceSet), Arc<Changes>>;

impl PublishedSnapshot {
    pub(crate) fn new(
        sequence: Sequence,
        snapshot: Snapshot,
        former: Option<&Self>,
        compared: &mut ComparedSets,
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
    pub(crate) fn republished(&self, sequence: Sequence) -> Self {
        let mut compared = ComparedSets::default();
        Self::new(sequence, self.snapshot.clone(), Some(self), &mut compared)
    }

    /// Builds one without a cache.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn after(sequence: Sequence, snapshot: Snapshot, former: Option<&Self>) -> Self {
        Self::new(sequence, snapshot, former, &mut ComparedSets::default())
    }

    /// The changes of one type since the group's former snapshot; `None` if the former set did
    /// not have the version `from`.
    pub(crate) fn changes(&self, kind: ResourceType, from: Version) -> Option<&[ResourceChange]> {
        let changes = self.changes[kind.index()].as_ref()?;
        (changes.from == from).then_some(&*changes.list)
    }

    /// The nonce of a response made from this snapshot by the server `instance`. Nonces with
    /// `repeat` 0 are allocated once and shared by all streams.
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
