mod trend;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, Role};
use pointsman_cutover::ports::{Alarm, AlarmSource, AlarmSubject};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    evidence::{Freshness, SessionCensus},
    fleet::Publisher,
};
use trend::{Failing, Trend};

/// Fires when sidecars keep failing to reach the writer that serves. A write probe takes one
/// sidecar after the other and meets those that fail too seldom.
#[derive(Debug)]
pub(crate) struct ConnectFailures {
    fleet: Arc<Publisher>,
    census: Arc<SessionCensus>,
    settings: ConnectFailureSettings,
}

/// When the alarm fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConnectFailureSettings {
    /// Failed attempts in a second from which a sidecar counts as failing. One connection that
    /// is not made is tried some forty times a second.
    pub(crate) per_second: u32,
    /// Of the sidecars that report, how many must fail at once; at least one.
    pub(crate) percent: u32,
    /// How long they must fail without a pause.
    pub(crate) lasting: Duration,
}

impl Default for ConnectFailureSettings {
    fn default() -> Self {
        Self {
            per_second: 5,
            percent: 10,
            lasting: Duration::from_secs(5),
        }
    }
}

impl ConnectFailures {
    pub(crate) fn new(
        fleet: Arc<Publisher>,
        census: Arc<SessionCensus>,
        settings: ConnectFailureSettings,
    ) -> Self {
        Self {
            fleet,
            census,
            settings,
        }
    }

    async fn follow(&self, subject: &AlarmSubject) -> Alarm {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut trends: Vec<_> = subject
            .databases
            .iter()
            .map(|database| (database, Trend::new(self.settings)))
            .collect();
        loop {
            ticks.tick().await;
            for (database, trend) in &mut trends {
                let now = Instant::now();
                if let Some(failing) = trend.look(self.counts(database), now) {
                    return self.alarm(database, &failing);
                }
            }
        }
    }

    /// Failed attempts at the writer of `database` so far, by each sidecar that reports.
    fn counts(&self, database: &DatabaseName) -> BTreeMap<NodeId, u64> {
        let registered = self.fleet.registered().into_keys();
        registered
            .filter_map(|node| {
                let usage = self
                    .census
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
            |(endpoint, words)| {
                let server = self.fleet.server_at(endpoint);
                let server = server.map_or_else(String::new, |server| format!("{server} at "));
                format!("; the last one, to {server}{endpoint}: {words}")
            },
        );
        Alarm {
            source: "the sidecars".to_owned(),
            words: format!(
                "connections to the writer of {database} fail for {:?} on {} of {reporting} \
                 sidecars ({}){last}",
                self.settings.lasting,
                nodes.len(),
                named.join(", ")
            ),
        }
    }

    fn last(&self, node: &NodeId, database: &DatabaseName) -> Option<(SocketAddr, String)> {
        let usage = self.census.usage_of(node, std::slice::from_ref(database))?;
        usage.route(database, Role::Writer)?.last_failure.clone()
    }
}

#[async_trait]
impl AlarmSource for ConnectFailures {
    async fn watch(&self, subject: &AlarmSubject, stop: CancellationToken) -> Option<Alarm> {
        tokio::select! {
            () = stop.cancelled() => None,
            alarm = self.follow(subject) => Some(alarm),
        }
    }
}

/// Two of a sidecar's reports.
const LOOK: Duration = Duration::from_secs(1);

const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use pointsman_xds::{MetricFamily, MetricKind, MetricSample, TelemetrySink as _};

    use super::*;
    use crate::fleet::tests::House;

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
        let house = House::new().await;
        for (id, last) in [("app-2", 12), ("app-3", 13)] {
            house.register(id, last).await;
        }
        let fleet = house.publisher().await;
        let census = Arc::new(SessionCensus::new(Arc::clone(&fleet)));
        census.metrics(&"app-1".into(), failures(40.0));
        census.metrics(&"app-2".into(), failures(7.0));
        let settings = ConnectFailureSettings::default();
        let alarm = ConnectFailures::new(fleet, Arc::clone(&census), settings);
        let counts = || -> Vec<_> {
            let counts = alarm.counts(&DatabaseName::new("orders").unwrap());
            let counts = counts.into_iter();
            counts.map(|(node, n)| (node.to_string(), n)).collect()
        };
        let (first, second) = (("app-1".to_owned(), 40), ("app-2".to_owned(), 7));
        // The third has never reported.
        assert_eq!(counts(), [first.clone(), second]);
        census.closed(&"app-2".into());
        assert_eq!(counts(), [first]);
    }
}
