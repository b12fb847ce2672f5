mod settings;
mod trend;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, Role};
use pointsman_cutover::ports::{Alarm, AlarmSource, AlarmSubject, Clock};
use tokio_util::sync::CancellationToken;

use super::ticks::Ticks;
use crate::{
    publish::{AddressBook, FleetView},
    telemetry::{Freshness, SessionTracker},
};
pub(crate) use settings::ConnectFailureSettings;
use trend::{Failing, Trend};

/// Fires when sidecars keep failing to reach the writer that serves. A write probe takes one
/// sidecar after the other and meets those that fail too seldom.
#[derive(Debug)]
pub(crate) struct ConnectFailures {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) view: Arc<FleetView>,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) tracker: Arc<SessionTracker>,
    pub(crate) settings: ConnectFailureSettings,
}

impl ConnectFailures {
    async fn follow(&self, subject: &AlarmSubject) -> Alarm {
        let mut ticks = Ticks::new(&*self.clock, LOOK);
        let mut trends: Vec<_> = subject
            .databases
            .iter()
            .map(|database| (database, Trend::new(self.settings)))
            .collect();
        loop {
            ticks.next().await;
            for (database, trend) in &mut trends {
                let now = self.clock.monotonic();
                if let Some(failing) = trend.look(self.counts(database), now) {
                    return self.alarm(database, &failing);
                }
            }
        }
    }

    /// Failed attempts at the writer of `database` so far, by each sidecar that reports.
    fn counts(&self, database: &DatabaseName) -> BTreeMap<NodeId, u64> {
        let awaited = self.view.awaited().into_keys();
        awaited
            .filter_map(|node| {
                let usage = self
                    .tracker
                    .usage_of(&node, std::slice::from_ref(database))?;
                let fresh = usage.freshness == Freshness::Fresh;
                let route = usage.route(database, Role::Writer).filter(|_| fresh)?;
                Some((node, route.connect_failures))
            })
            .collect()
    }

    fn alarm(&self, database: &DatabaseName, failing: &Failing) -> Alarm {
        let Failing { reporting, nodes } = failing;
        let named: Vec<_> = nodes
            .iter()
            .take(NAMED)
            .map(|(node, count)| format!("{node}: {count} failures"))
            .collect();
        let last = nodes.iter().find_map(|(node, _)| self.last(node, database));
        let last = last.map_or_else(
            || "; no sidecar has told why yet".to_owned(),
            |(endpoint, reason)| {
                let server = self.addresses.server_at(endpoint);
                let server = server.map_or_else(String::new, |server| format!("{server} at "));
                format!("; the last one, to {server}{endpoint}: {reason}")
            },
        );
        Alarm {
            source: NAME.to_owned(),
            reason: format!(
                "connections to the writer of {database} fail for {:?} on {} of {reporting} \
                 sidecars ({}){last}",
                self.settings.lasting,
                nodes.len(),
                named.join(", ")
            ),
        }
    }

    fn last(&self, node: &NodeId, database: &DatabaseName) -> Option<(SocketAddr, String)> {
        let usage = self
            .tracker
            .usage_of(node, std::slice::from_ref(database))?;
        usage.route(database, Role::Writer)?.last_failure.clone()
    }
}

#[async_trait]
impl AlarmSource for ConnectFailures {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn watch(&self, subject: &AlarmSubject, stop: CancellationToken) -> Option<Alarm> {
        tokio::select! {
            () = stop.cancelled() => None,
            alarm = self.follow(subject) => Some(alarm),
        }
    }
}

/// The interval between two looks. Sidecars report twice as often.
const LOOK: Duration = Duration::from_secs(1);

const NAME: &str = "the sidecars";
const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use pointsman_cutover::ports::SystemClock;
    use pointsman_xds::{MetricFamily, MetricKind, MetricSample, TelemetrySink as _};

    use super::*;
    use crate::publish::tests::TestCatalog;

    fn failures(count: f64) -> Vec<MetricFamily> {
        let label = ("envoy.cluster_name".to_owned(), "writer/orders".to_owned());
        vec![MetricFamily {
            name: "cluster.upstream_cx_connect_fail".to_owned(),
            kind: MetricKind::Counter,
            samples: vec![MetricSample {
                labels: vec![label],
                value: count,
                count: 1,
            }],
        }]
    }

    #[tokio::test]
    async fn a_silent_sidecar_is_neither_failing_nor_well() {
        let stored = TestCatalog::new().await;
        for (id, last) in [("app-2", 12), ("app-3", 13)] {
            stored.register(id, last).await;
        }
        let running = stored.follow().await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let holds = Arc::clone(&running.holds);
        let tracker = Arc::new(SessionTracker::new(Arc::clone(&clock), holds));
        tracker.metrics(&"app-1".into(), failures(40.0));
        tracker.metrics(&"app-2".into(), failures(7.0));
        let alarm = ConnectFailures {
            clock,
            view: Arc::clone(&running.view),
            addresses: Arc::clone(&running.addresses),
            tracker: Arc::clone(&tracker),
            settings: ConnectFailureSettings::default(),
        };
        let counts = || -> Vec<_> {
            let counts = alarm.counts(&DatabaseName::new("orders").unwrap());
            let counts = counts.into_iter();
            counts.map(|(node, n)| (node.to_string(), n)).collect()
        };
        let (first, second) = (("app-1".to_owned(), 40), ("app-2".to_owned(), 7));
        // The third has never reported.
        assert_eq!(counts(), [first.clone(), second]);
        tracker.closed(&"app-2".into());
        assert_eq!(counts(), [first]);
    }
}
