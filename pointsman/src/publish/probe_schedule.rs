//! A sidecar tries the endpoints of a probe cluster for as long as the cluster has any, so a
//! probe begins and ends with a publish. It has an end: each try costs the server a process.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError},
    time::Duration,
};

use pointsman_catalog::{Chain, DatabaseName, ServerName};
use pointsman_cutover::ports::{Clock, Monotonic};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::state::PublishedState;

/// The servers that every sidecar is asked to try, and until when.
#[derive(Debug)]
pub(crate) struct ProbeSchedule {
    state: Arc<Mutex<PublishedState>>,
    clock: Arc<dyn Clock>,
    /// Changed under the lock of `state` only, and read without it.
    probes: SyncMutex<BTreeMap<DatabaseName, ScheduledProbe>>,
    /// The first end may be another one.
    changed: Notify,
}

/// A server that sidecars try through a database's probe cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ScheduledProbe {
    pub(crate) server: ServerName,
    /// Results from before are not of this probe.
    pub(crate) since: Monotonic,
    /// The addresses of the server that are tried.
    addresses: Vec<SocketAddr>,
    until: Monotonic,
}

impl ProbeSchedule {
    /// Publishes with `state`; probes end while [`Self::run`] is polled.
    pub(super) fn new(state: Arc<Mutex<PublishedState>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            state,
            clock,
            probes: SyncMutex::default(),
            changed: Notify::new(),
        }
    }

    /// Has every sidecar try `server` for the next minutes. Returns since when they do.
    ///
    /// # Errors
    /// The reason, if the sidecars cannot be told.
    pub(crate) async fn probe(
        &self,
        database: &DatabaseName,
        server: &ServerName,
    ) -> Result<Monotonic, String> {
        let mut state = self.state.lock().await;
        let addresses = state.catalog().addresses.get(server).cloned();
        let Some(addresses) = addresses.filter(|addresses| !addresses.is_empty()) else {
            return Err(format!("the endpoint of {server} has no resolved address"));
        };
        let now = self.clock.monotonic();
        let until = now.plus(TRIED_FOR);
        if let Some(former) = self.lock().get_mut(database)
            && former.server == *server
            && former.addresses == addresses
            && former.until > now
        {
            former.until = until;
            return Ok(former.since);
        }
        state
            .publish_probe(database, Some(server.clone()), self.clock.now())
            .map_err(|error| error.to_string())?;
        let probe = ScheduledProbe {
            server: server.clone(),
            since: now,
            addresses,
            until,
        };
        self.lock().insert(database.clone(), probe);
        drop(state);
        self.changed.notify_one();
        info!(%database, %server, "sidecars try the server");
        Ok(now)
    }

    /// What sidecars try now, by database.
    pub(crate) fn scheduled(&self) -> BTreeMap<DatabaseName, ScheduledProbe> {
        self.lock().clone()
    }

    /// Ends each probe in its time, until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            let first = self.lock().values().map(|probe| probe.until).min();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
                () = self.until(first) => self.end_probes().await,
            }
        }
    }

    async fn until(&self, end: Option<Monotonic>) {
        match end {
            Some(end) => self.clock.sleep(end.since(self.clock.monotonic())).await,
            None => std::future::pending().await,
        }
    }

    /// Takes probes whose time is over from the sidecars.
    async fn end_probes(&self) {
        let mut state = self.state.lock().await;
        let now = self.clock.monotonic();
        let probes = self.scheduled().into_iter();
        for (database, _) in probes.filter(|(_, probe)| probe.until <= now) {
            self.lock().remove(&database);
            if let Err(error) = state.publish_probe(&database, None, self.clock.now()) {
                warn!(
                    %database,
                    error = %Chain(&error),
                    "the end of a probe could not be published"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DatabaseName, ScheduledProbe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long sidecars go on trying after the last look at the results: people read a preflight
/// before they switch.
const TRIED_FOR: Duration = Duration::from_secs(600);
