use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The read-only sessions of this process, whatever for: a fence that is proved meanwhile is not broken by them.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnLooks(Arc<Mutex<BTreeSet<Backend>>>);

/// When its server was started, and its process there: no other backend anywhere has both.
type Backend = (String, i32);

/// Counts as a look for as long as it lives.
#[derive(Debug)]
pub(super) struct OwnLook {
    looks: OwnLooks,
    backend: Backend,
}

impl OwnLooks {
    pub(super) fn enter(&self, server_started: &str, pid: i32) -> OwnLook {
        let backend = (server_started.to_owned(), pid);
        self.lock().insert(backend.clone());
        OwnLook {
            looks: self.clone(),
            backend,
        }
    }

    /// Those on the server that was started then.
    pub(super) fn pids(&self, server_started: &str) -> Vec<i32> {
        let looks = self.lock();
        let there = looks
            .iter()
            .filter(|(started, _)| started == server_started);
        there.map(|(_, pid)| *pid).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Backend>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnLook {
    fn drop(&mut self) {
        self.looks.lock().remove(&self.backend);
    }
}
