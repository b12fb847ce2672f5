//! A store on the simulated disk of the control plane.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use pointsman_catalog::{
    Store,
    store::{Changes, Key, Precondition, Revision, StoreError, Versioned, Write},
};
use tokio::sync::{oneshot, watch};

use crate::{
    network::MessageFault,
    world::{Disk, Shared, World},
};

/// The store as one process has it open.
#[derive(Debug)]
pub(crate) struct SimulatedStore {
    pub(crate) shared: Shared,
    revision: watch::Sender<Revision>,
    /// Another process has it now.
    lost: AtomicBool,
}

impl SimulatedStore {
    pub(crate) fn new(shared: &Shared) -> Self {
        Self {
            shared: shared.clone(),
            revision: watch::Sender::new(Revision(shared.world().disk.revision)),
            lost: AtomicBool::new(false),
        }
    }

    /// A successor opens the file, of which there can be one owner.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    fn owned(&self) -> Result<(), StoreError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(unavailable("another process has it"));
        }
        Ok(())
    }
}

impl Disk {
    fn get(&self, key: &Key) -> Option<Versioned> {
        let (revision, value) = self.values.get(key)?;
        Some(Versioned {
            value: value.clone(),
            revision: *revision,
        })
    }

    fn range(&self, prefix: &str) -> Vec<(Key, Versioned)> {
        let all = self.values.range(Key::new(prefix)..);
        let all = all.take_while(|(key, _)| key.as_str().starts_with(prefix));
        let versioned = |(revision, value): &(Revision, Vec<u8>)| Versioned {
            value: value.clone(),
            revision: *revision,
        };
        all.map(|(key, stored)| (key.clone(), versioned(stored)))
            .collect()
    }

    fn commit(&mut self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let mut values = BTreeMap::new();
        let revision = Revision(self.revision + 1);
        for Write { key, value, when } in writes {
            let written: Option<&Option<Vec<u8>>> = values.get(&key);
            let found = match written {
                Some(value) => value.as_ref().map(|_| revision),
                None => self.values.get(&key).map(|(revision, _)| *revision),
            };
            let holds = match when {
                Precondition::Any => true,
                Precondition::Absent => found.is_none(),
                Precondition::At(at) => found == Some(at),
            };
            if !holds {
                return Err(StoreError::Conflict { key });
            }
            values.insert(key, value);
        }
        for (key, value) in values {
            match value {
                Some(value) => self.values.insert(key, (revision, value)),
                None => self.values.remove(&key),
            };
        }
        self.revision = revision.0;
        Ok(revision)
    }
}

fn unavailable(what: &str) -> StoreError {
    StoreError::Unavailable(format!("the simulated disk: {what}").into())
}

impl World {
    /// What comes of a commit that has reached the disk.
    fn write_to_disk(
        &mut self,
        writes: Vec<Write>,
        fault: Option<MessageFault>,
    ) -> Result<Revision, StoreError> {
        if self.now() < self.disk.full_until {
            return Err(unavailable("no space left on device"));
        }
        match fault {
            Some(MessageFault::LoseRequest | MessageFault::Refuse) => {
                Err(unavailable("input/output error"))
            }
            Some(MessageFault::LoseAnswer) => {
                let done = self.commit(writes);
                done.and_then(|_| Err(unavailable("the answer was lost")))
            }
            Some(MessageFault::Late(_)) | None => self.commit(writes),
        }
    }

    fn commit(&mut self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let written = self.disk.commit(writes)?;
        self.note_task();
        Ok(written)
    }
}

#[async_trait]
impl Store for SimulatedStore {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        self.owned()?;
        Ok(self.shared.world().disk.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
        self.owned()?;
        Ok(self.shared.world().disk.range(prefix))
    }

    async fn changes(
        &self,
        prefixes: &[&str],
        _after: Option<Revision>,
    ) -> Result<Changes, StoreError> {
        let world = self.shared.world();
        let all = prefixes.iter().flat_map(|prefix| world.disk.range(prefix));
        Ok(Changes {
            revision: Revision(world.disk.revision),
            complete: true,
            values: all.map(|(key, value)| (key, Some(value))).collect(),
        })
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.owned()?;
        let (answer, answered) = oneshot::channel();
        {
            let mut world = self.shared.world();
            let fault = world.engine_acts(None);
            let number = world.messages;
            world.note(|_| {
                let keys: Vec<_> = writes.iter().map(|write| write.key.as_str()).collect();
                format!("engine → disk: {} (message {number})", keys.join(", "))
            });
            let mut way = world.some(50..200);
            if let Some(MessageFault::Late(more)) = fault {
                way += more;
            }
            world.after(way, move |world| {
                world.woken = true;
                // The caller may have given up.
                let _ = answer.send(world.write_to_disk(writes, fault));
            });
        }
        let written = answered
            .await
            .unwrap_or_else(|_lost| Err(unavailable("no answer")))?;
        self.revision.send_replace(written);
        Ok(written)
    }

    async fn room(&self) -> Result<u64, StoreError> {
        let world = self.shared.world();
        let is_full = world.now() < world.disk.full_until;
        Ok(if is_full { 0 } else { 10 << 30 })
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.revision.subscribe()
    }
}
