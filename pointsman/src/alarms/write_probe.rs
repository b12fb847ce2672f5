use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use pointsman_catalog::{Catalog, DatabaseName, NodeId, Server};
use pointsman_cutover::ports::{Alarm, AlarmSource, AlarmSubject, Clock, Providers};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::ticks::Ticks;
use crate::publish::FleetView;

/// Writes a row through a sidecar, over a new connection each time, as a role that may do nothing
/// else: what an application that starts now would meet.
#[derive(Debug)]
pub(crate) struct WriteProbe {
    catalog: Arc<Catalog>,
    clock: Arc<dyn Clock>,
    view: Arc<FleetView>,
    providers: Providers,
    settings: ProbeSettings,
    /// The records of the current bake, by database.
    records: Mutex<BTreeMap<DatabaseName, ProbeRecord>>,
}

/// What came of the probes of one database in one bake.
#[derive(Debug, Default)]
struct ProbeRecord {
    bake: String,
    /// A write has succeeded in this bake.
    armed: bool,
    /// Why nothing can be tried now, if so.
    blind: Option<String>,
    /// Failed probes since the last success.
    failed: u32,
    last_failure: String,
}

/// What came of one probe.
enum Probed {
    Wrote,
    /// Nothing was tried, which says nothing of the database.
    Blind(String),
    Failed {
        node: NodeId,
        error: anyhow::Error,
    },
}

/// How often the probe runs, and when the alarm fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ProbeSettings {
    /// The time between two probes of one database.
    pub(crate) interval: Duration,
    /// Consecutive failures that fire.
    pub(crate) failures: u32,
    /// How long one probe may take, from connecting to the commit.
    pub(crate) timeout: Duration,
    /// How long the first write of a bake may take to succeed.
    pub(crate) first_write: Duration,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            // One reset connection is no outage; three in a row, each through another
            // sidecar, are.
            failures: 3,
            timeout: Duration::from_secs(1),
            first_write: Duration::from_secs(10),
        }
    }
}

impl WriteProbe {
    /// Probes through the connected sidecars of `view`.
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        clock: Arc<dyn Clock>,
        view: Arc<FleetView>,
        providers: Providers,
        settings: ProbeSettings,
    ) -> Self {
        Self {
            catalog,
            clock,
            view,
            providers,
            settings,
            records: Mutex::default(),
        }
    }

    /// Probes `database` until it has failed often enough.
    async fn follow(&self, database: &DatabaseName, bake: &str) -> Alarm {
        let mut ticks = Ticks::new(&*self.clock, self.settings.interval);
        let began = self.clock.monotonic();
        // What failed before this watch began says nothing of the writer that is there now.
        self.record(database, bake, |record| record.failed = 0);
        let mut turn = 0_usize;
        loop {
            ticks.next().await;
            turn = turn.wrapping_add(1);
            match self.probe(database, turn).await {
                Probed::Wrote => self.record(database, bake, ProbeRecord::succeeded),
                Probed::Blind(reason) => {
                    let said = reason.clone();
                    if self.record(database, bake, |record| record.blinded(said)) {
                        warn!(%database, %reason, "write probe is blind");
                    }
                }
                Probed::Failed { node, error } => {
                    debug!(%database, %node, error = %format_args!("{error:#}"), "write probe failed");
                    let watched = self.clock.elapsed(began);
                    let reason = format!("{error:#}");
                    let fires = self.record(database, bake, |record| {
                        record.failed(reason, watched, &self.settings)
                    });
                    if let Some(failing) = fires {
                        return alarm(database, &node, &failing, &error);
                    }
                }
            }
        }
    }

    fn record<T>(
        &self,
        database: &DatabaseName,
        bake: &str,
        change: impl FnOnce(&mut ProbeRecord) -> T,
    ) -> T {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.entry(database.clone()).or_default();
        if record.bake != bake {
            *record = ProbeRecord {
                bake: bake.to_owned(),
                ..ProbeRecord::default()
            };
        }
        change(record)
    }

    /// Probes through the sidecar whose `turn` it is.
    async fn probe(&self, database: &DatabaseName, turn: usize) -> Probed {
        let sidecars = self.view.reachable(database);
        if sidecars.is_empty() {
            return Probed::Blind(NO_SIDECAR.to_owned());
        }
        let (node, listen) = &sidecars[turn % sidecars.len()];
        let probed = async {
            let (server, datname, through) = self.way_in(database, *listen).await?;
            let probes = self.providers.of(&server)?.probes();
            if let Err(reason) = probes.probe_login(&server, &datname) {
                return Ok(Probed::Blind(reason));
            }
            let value = i64::try_from(self.clock.now().0).unwrap_or(i64::MAX);
            let write = probes.write_row(&server, &datname, through, value);
            self.clock
                .timeout(self.settings.timeout, write)
                .await
                .with_context(|| format!("no answer within {:?}", self.settings.timeout))??;
            Ok(Probed::Wrote)
        };
        probed.await.unwrap_or_else(|error| Probed::Failed {
            node: node.clone(),
            error,
        })
    }

    /// The serving server, the database's name there, and the sidecar's listener.
    async fn way_in(
        &self,
        database: &DatabaseName,
        listen: IpAddr,
    ) -> anyhow::Result<(Server, String, SocketAddr)> {
        let declared = self.catalog.database(database).await?;
        let routes = self.catalog.routes().await?;
        let Some(writer) = routes
            .get(database)
            .and_then(|routes| routes.writer.serving().first())
        else {
            bail!("{database} has no writer now");
        };
        let server = self.catalog.server(writer).await?;
        let through = SocketAddr::new(listen, declared.listen.writer);
        Ok((server, declared.datname, through))
    }
}

fn alarm(database: &DatabaseName, node: &NodeId, failing: &str, error: &anyhow::Error) -> Alarm {
    Alarm {
        source: NAME.to_owned(),
        reason: format!(
            "{failing} of {database} failed, the last through sidecar {node}: {error:#}"
        ),
    }
}

impl ProbeRecord {
    fn succeeded(&mut self) {
        self.armed = true;
        self.failed = 0;
        self.blind = None;
    }

    /// Returns whether that is news.
    fn blinded(&mut self, reason: String) -> bool {
        let before = self.blind.replace(reason);
        before != self.blind
    }

    /// Returns what failed, if the alarm fires. It has been `watched` for so long. A way that is still
    /// being made when a bake begins gets time for its first write.
    fn failed(
        &mut self,
        reason: String,
        watched: Duration,
        settings: &ProbeSettings,
    ) -> Option<String> {
        self.failed = self.failed.saturating_add(1);
        self.last_failure = reason;
        self.blind = None;
        if self.failed < settings.failures {
            None
        } else if self.armed {
            let failures = settings.failures;
            Some(format!("{failures} writes in a row to the writer"))
        } else {
            (watched >= settings.first_write)
                .then(|| format!("every write since the switch, {watched:.0?}, to the writer"))
        }
    }
}

#[async_trait]
impl AlarmSource for WriteProbe {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn watch(&self, subject: &AlarmSubject, stop: CancellationToken) -> Option<Alarm> {
        let mut probes: FuturesUnordered<_> = subject
            .databases
            .iter()
            .map(|database| self.follow(database, &subject.bake))
            .collect();
        tokio::select! {
            () = stop.cancelled() => None,
            Some(alarm) = probes.next() => Some(alarm),
            // Without a database there is nothing to fire about.
            else => {
                stop.cancelled().await;
                None
            }
        }
    }

    fn warnings(&self, subject: &AlarmSubject) -> Vec<String> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let unarmed = subject.databases.iter().filter_map(|database| {
            let record = records.get(database);
            let record = record.filter(|record| record.bake == subject.bake)?;
            if let Some(reason) = &record.blind {
                return Some(format!(
                    "the write probe of {database} does not watch: {reason}"
                ));
            }
            let never = !record.armed && record.failed >= self.settings.failures;
            never.then(|| {
                format!(
                    "the write probe of {database} does not watch: no write has succeeded since \
                     the switch; the last one: {}",
                    record.last_failure
                )
            })
        });
        unarmed.collect()
    }
}

const NAME: &str = "write probe";
const NO_SIDECAR: &str =
    "no sidecar that has it is connected and reached from the control plane's machine";

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(record: &mut ProbeRecord, watched: u64) -> bool {
        let watched = Duration::from_secs(watched);
        let fires = record.failed("refused".to_owned(), watched, &ProbeSettings::default());
        fires.is_some()
    }

    #[test]
    fn only_failures_in_a_row_fire() {
        let mut record = ProbeRecord::default();
        record.succeeded();
        assert_eq!(
            [(); 4].map(|()| failed(&mut record, 1)),
            [false, false, true, true]
        );
        record.succeeded();
        assert!(!failed(&mut record, 60));
    }

    #[test]
    fn a_probe_that_has_never_succeeded_fires_after_its_time() {
        let mut record = ProbeRecord::default();
        assert!(!(0..9).any(|_| failed(&mut record, 9)));
        assert!(failed(&mut record, 10));
        let mut slow = ProbeRecord::default();
        assert!(!failed(&mut slow, 60), "one failure is none in a row");
    }
}
