use std::{collections::BTreeMap, sync::Arc, time::Duration};

use pointsman_catalog::{Catalog, CatalogError, Chain, DatabaseName, store::Revision};
use pointsman_cutover::ports::Clock;
use pointsman_xds::Sequence;
use tokio::{
    sync::{Mutex, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    address_book::AddressBook, hold_timer::HoldTimer, registry::Registry, state::PublishedState,
};

/// Publishes what the catalogue says: waits for commits to the store, reads what they wrote,
/// renders it and sends it to the sidecars. Nobody else publishes changes of the catalogue, so
/// the order in the store is the order on the wire, whichever process committed.
#[derive(Debug)]
pub(super) struct Follower {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    parts: FollowerParts,
    progress: watch::Sender<Progress>,
}

/// The parts that the follower informs.
#[derive(Clone, Debug)]
pub(super) struct FollowerParts {
    pub(super) state: Arc<Mutex<PublishedState>>,
    pub(super) registry: Arc<Registry>,
    pub(super) addresses: Arc<AddressBook>,
    pub(super) holds: Arc<HoldTimer>,
}

/// How far the follower has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Every commit up to this one was taken into account; `None` before the first reading.
    revision: Option<Revision>,
    /// The last publish of a change of the catalogue.
    pub(crate) sequence: Sequence,
    /// The databases that could not be rendered, each with the reason.
    unrendered: BTreeMap<DatabaseName, String>,
    /// Why the last publish failed.
    failure: Option<String>,
}

/// Lets others wait for the follower.
#[derive(Clone, Debug)]
pub(crate) struct FollowerHandle {
    progress: watch::Receiver<Progress>,
}

/// Why a change that is recorded has not reached the sidecars.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPublished {
    /// The change is published once the cause is gone.
    #[error("the catalogue was changed, and the sidecars keep what they have: {0}")]
    Render(String),
    #[error(
        "the catalogue was changed, and after {PATIENCE:?} the change is not published yet: it \
         will be once the store can be read; the log says what hinders it"
    )]
    Late,
}

impl Follower {
    /// A follower that has published nothing yet.
    pub(super) fn new(catalog: Arc<Catalog>, clock: Arc<dyn Clock>, parts: FollowerParts) -> Self {
        Self {
            catalog,
            clock,
            parts,
            progress: watch::Sender::default(),
        }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Lets others wait for this follower.
    pub(super) fn handle(&self) -> FollowerHandle {
        FollowerHandle {
            progress: self.progress.subscribe(),
        }
    }

    /// Publishes each change, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut revisions = self.catalog.store().watch();
        loop {
            // Marked before the read: a commit from here on begins another turn.
            revisions.mark_unchanged();
            let failed = match self.turn().await {
                Ok(()) => self.progress.borrow().failure.is_some(),
                Err(error) => {
                    warn!(error = %Chain(&error), "the catalogue could not be read");
                    true
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = revisions.changed() => {}
                () = sleep(RETRY), if failed => {}
            }
        }
    }

    /// Publishes what was committed since the last turn, as one change.
    pub(super) async fn turn(&mut self) -> Result<(), CatalogError> {
        let after = self.progress.borrow().revision;
        let changes = self.catalog.changes(after).await?;
        let revision = changes.revision;
        let FollowerParts {
            state,
            registry,
            addresses,
            holds,
        } = &self.parts;
        let mut state = state.lock().await;
        let affected = state.take(changes);
        let catalog = state.catalog();
        if affected.nodes {
            registry.replace(catalog.nodes.values(), &catalog.groups);
        }
        if affected.addresses {
            addresses.replace(catalog.addresses.clone());
        }
        // Before they are published: from then on sidecars retry because of a hold.
        let names = affected.databases.iter();
        holds.note(names.filter_map(|name| Some((name, catalog.routes.get(name)?))));
        let published = state.publish_changes(&affected, self.clock.now());
        let unrendered = state.unrendered().clone();
        drop(state);
        if affected.nodes {
            registry.dismiss_changed();
        }
        self.report(revision, unrendered, published.map_err(|e| e.to_string()));
        Ok(())
    }

    fn report(
        &self,
        revision: Revision,
        unrendered: BTreeMap<DatabaseName, String>,
        published: Result<Option<Sequence>, String>,
    ) {
        self.progress.send_modify(|progress| {
            progress.revision = Some(revision);
            if progress.unrendered != unrendered {
                for (database, reason) in &unrendered {
                    warn!(%database, reason, "the sidecars cannot be told of a database");
                }
                progress.unrendered = unrendered;
            }
            match published {
                Ok(None) => {}
                Ok(Some(sequence)) => {
                    debug!(%sequence, revision = revision.0, "changes of the catalogue published");
                    progress.sequence = sequence;
                    progress.failure = None;
                }
                Err(reason) => {
                    warn!(reason, "changes of the catalogue could not be published");
                    progress.failure = Some(reason);
                }
            }
        });
    }
}

impl FollowerHandle {
    /// Waits until every commit up to `revision` is published; without a revision there is
    /// nothing to wait for.
    ///
    /// # Errors
    /// [`NotPublished`], at the latest after [`PATIENCE`].
    pub(crate) async fn until_published(
        &self,
        revision: Option<Revision>,
    ) -> Result<Progress, NotPublished> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.revision >= revision);
        let progress = match timeout(PATIENCE, reached).await {
            Ok(Ok(progress)) => progress.clone(),
            // The follower has ended with the process, or is late.
            Ok(Err(_)) | Err(_) => return Err(NotPublished::Late),
        };
        match progress.failure {
            Some(reason) => Err(NotPublished::Render(reason)),
            None => Ok(progress),
        }
    }
}

impl Progress {
    /// Whether every database is published as the catalogue says.
    ///
    /// # Errors
    /// [`NotPublished::Render`], with each that is not.
    pub(crate) fn check_all(&self) -> Result<(), NotPublished> {
        self.check(self.unrendered.keys())
    }

    /// Whether these databases are published as the catalogue says.
    ///
    /// # Errors
    /// [`NotPublished::Render`], with each that is not.
    pub(crate) fn check<'a>(
        &self,
        databases: impl IntoIterator<Item = &'a DatabaseName>,
    ) -> Result<(), NotPublished> {
        let databases = databases.into_iter();
        let reasons: Vec<_> = databases
            .filter_map(|name| self.unrendered.get(name))
            .map(String::as_str)
            .collect();
        if reasons.is_empty() {
            Ok(())
        } else {
            Err(NotPublished::Render(reasons.join("; ")))
        }
    }

    /// Why the catalogue is not published as it is; `None` if it is.
    pub(super) fn obstacle(&self) -> Option<String> {
        let mut reasons = self
            .failure
            .iter()
            .chain(self.unrendered.values())
            .peekable();
        reasons.peek()?;
        let reasons: Vec<_> = reasons.map(String::as_str).collect();
        Some(reasons.join("; "))
    }
}

/// How long a caller waits for its change. Reading and rendering take milliseconds, of a large
/// fleet a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause after a turn that failed.
const RETRY: Duration = Duration::from_secs(1);
