//! A store that counts commits and injects a fault at the ones it is told to.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::{Future, pending},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use async_trait::async_trait;
use pointsman_catalog::{
    Store,
    store::{Changes, Key, Revision, StoreError, Versioned, Write},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::timeout,
};

/// What happens at a commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The process is killed: this commit and every later call never return.
    Stop(Point),
    /// The caller gets [`StoreError::Unavailable`]. After the commit, that means that the
    /// answer is lost.
    Fail(Point),
    /// The commit waits for [`FaultInjectingStore::release`].
    Delay,
}

/// On which side of a commit a fault happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Point {
    /// Nothing is committed.
    BeforeCommit,
    /// Everything is committed and durable.
    AfterCommit,
}

/// Wraps any store. Commits are numbered from 1 in the order in which they are called; one
/// that fails a precondition has a number, too.
///
/// Without a fault it does what the inner store does.
#[derive(Debug)]
pub struct FaultInjectingStore {
    inner: Arc<dyn Store>,
    state: watch::Sender<State>,
    /// Commits that wait to be released; their callers may have given up.
    delayed: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the newest commit.
    called: u64,
    faults: BTreeMap<u64, Fault>,
    /// Commits whose fault has not happened yet.
    before_fault: BTreeSet<u64>,
    /// Delayed commits that were not released yet.
    held: BTreeSet<u64>,
    stopped: bool,
    /// So many of the next reads fail.
    failing_reads: u32,
    /// The disk is full: every commit fails.
    full: bool,
}

impl FaultInjectingStore {
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            state: watch::Sender::default(),
            delayed: Mutex::default(),
        }
    }

    /// Makes `fault` happen at commit `number`; a commit that was called already is not
    /// affected.
    pub fn inject(&self, number: u64, fault: Fault) {
        self.state.send_modify(|state| {
            state.faults.insert(number, fault);
        });
    }

    /// Makes every commit fail from now on, or none any more, as a full disk does.
    pub fn fill(&self, full: bool) {
        self.state.send_modify(|state| state.full = full);
    }

    /// Makes the next `count` reads fail.
    pub fn fail_reads(&self, count: u32) {
        self.state.send_modify(|state| state.failing_reads = count);
    }

    /// How many reads are still to fail.
    #[must_use]
    pub fn reads_to_fail(&self) -> u32 {
        self.state.borrow().failing_reads
    }

    /// Takes one of the failures that reads were told to have.
    fn read_fault(&self) -> Result<(), StoreError> {
        let mut fails = false;
        self.state.send_if_modified(|state| {
            fails = state.failing_reads > 0;
            state.failing_reads = state.failing_reads.saturating_sub(1);
            fails
        });
        if fails {
            return Err(StoreError::Unavailable("injected at a read".into()));
        }
        Ok(())
    }

    /// Lets the delayed commit `number` happen.
    pub fn release(&self, number: u64) {
        self.state.send_modify(|state| {
            state.held.remove(&number);
        });
    }

    /// How many commits were called.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.state.borrow().called
    }

    /// Waits until commit `number` was called and its fault, if it has one, has happened.
    ///
    /// # Errors
    /// That did not come within `deadline`.
    pub async fn reached(&self, number: u64, deadline: Duration) -> Result<()> {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| state.has_reached(number));
        timeout(deadline, reached).await.with_context(|| {
            let called = self.commits();
            format!("commit {number} was not reached within {deadline:?}; the newest is {called}")
        })??;
        Ok(())
    }

    async fn apply(
        &self,
        fault: Fault,
        number: u64,
        writes: Vec<Write>,
    ) -> Result<Revision, StoreError> {
        match fault {
            Fault::Stop(point) => {
                if point == Point::AfterCommit {
                    // A precondition that does not hold ends nothing; the process still dies.
                    let _ = self.inner.commit(writes).await;
                }
                self.happened(number, |state| state.stopped = true);
                pending().await
            }
            Fault::Fail(Point::BeforeCommit) => {
                self.happened(number, |_| ());
                Err(unavailable(number, "nothing was committed"))
            }
            Fault::Fail(Point::AfterCommit) => {
                let outcome = self.inner.commit(writes).await;
                self.happened(number, |_| ());
                outcome.and_then(|_| Err(unavailable(number, "the answer was lost")))
            }
            Fault::Delay => self.delay(number, writes).await,
        }
    }

    /// The commit goes into a task of its own: a caller that stops waiting does not stop it.
    async fn delay(&self, number: u64, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let (answer, answered) = oneshot::channel();
        let (inner, mut state) = (Arc::clone(&self.inner), self.state.subscribe());
        let commit = async move {
            let released = |state: &State| !state.held.contains(&number);
            let goes_on = state
                .wait_for(released)
                .await
                .is_ok_and(|state| !state.stopped);
            if goes_on {
                // The caller may have given up.
                let _ = answer.send(inner.commit(writes).await);
            }
        };
        self.happened(number, |state| {
            state.held.insert(number);
        });
        self.delayed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .spawn(commit);
        match answered.await {
            Ok(outcome) => outcome,
            Err(_) => pending().await,
        }
    }

    fn happened(&self, number: u64, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            change(state);
            state.before_fault.remove(&number);
        });
    }

    /// The outcome of `call`, which a stopped process never learns.
    async fn unless_stopped<T>(&self, call: impl Future<Output = T>) -> T {
        let mut state = self.state.subscribe();
        let stopped = async {
            // The sender lives as long as this store.
            let _ = state.wait_for(|state| state.stopped).await;
        };
        tokio::select! {
            biased;
            () = stopped => pending().await,
            outcome = call => outcome,
        }
    }
}

impl State {
    /// The number of a new commit, and its fault.
    fn call(&mut self) -> (u64, Option<Fault>) {
        self.called += 1;
        let fault = self.faults.get(&self.called).copied();
        if fault.is_some() {
            self.before_fault.insert(self.called);
        }
        (self.called, fault)
    }

    fn has_reached(&self, number: u64) -> bool {
        self.called >= number && !self.before_fault.contains(&number)
    }

    /// Whether an earlier commit than `number` stops the process.
    fn is_stopped_before(&self, number: u64) -> bool {
        let mut earlier = self.faults.range(..number);
        earlier.any(|(_, fault)| matches!(fault, Fault::Stop(_)))
    }
}

#[async_trait]
impl Store for FaultInjectingStore {
    async fn get(&self, key: &Key) -> Result<Option<Versioned>, StoreError> {
        self.read_fault()?;
        self.unless_stopped(self.inner.get(key)).await
    }

    async fn range(&self, prefix: &str) -> Result<Vec<(Key, Versioned)>, StoreError> {
        self.read_fault()?;
        self.unless_stopped(self.inner.range(prefix)).await
    }

    async fn changes(
        &self,
        prefixes: &[&str],
        after: Option<Revision>,
    ) -> Result<Changes, StoreError> {
        self.unless_stopped(self.inner.changes(prefixes, after))
            .await
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let (mut number, mut fault, mut stopped) = (0, None, false);
        self.state.send_modify(|state| {
            (number, fault) = state.call();
            stopped = state.is_stopped_before(number);
            if state.full && fault.is_none() {
                fault = Some(Fault::Fail(Point::BeforeCommit));
            }
        });
        if stopped {
            return pending().await;
        }
        match fault {
            None => self.unless_stopped(self.inner.commit(writes)).await,
            Some(fault) => self.apply(fault, number, writes).await,
        }
    }

    async fn room(&self) -> Result<u64, StoreError> {
        self.read_fault()?;
        if self.state.borrow().full {
            return Ok(0);
        }
        self.inner.room().await
    }

    fn watch(&self) -> watch::Receiver<Revision> {
        self.inner.watch()
    }
}

fn unavailable(number: u64, what: &str) -> StoreError {
    StoreError::Unavailable(format!("injected at commit {number}: {what}").into())
}
