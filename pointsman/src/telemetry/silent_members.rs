//! Members of sidecar groups that have gone silent with sessions.

use std::{sync::Arc, time::Duration};

use pointsman_catalog::NodeId;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::session_tracker::SessionTracker;
use crate::publish::FleetView;

/// Keeps the leases of members that have gone silent while their last report shows sessions: behind a cut
/// cable they may serve applications for as long as it stays cut.
#[derive(Debug)]
pub(crate) struct SilentMembers {
    pub(crate) view: Arc<FleetView>,
    pub(crate) tracker: Arc<SessionTracker>,
}

impl SilentMembers {
    /// Looks again and again, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            let next = self.tracker.clock.sleep(LOOK_INTERVAL);
            tokio::select! {
                () = stop.cancelled() => return,
                () = next => self.look(),
            }
        }
    }

    fn look(&self) {
        for node in self.view.silent_members() {
            let sessions = self.last_sessions(&node);
            if sessions > 0 {
                warn!(
                    %node, sessions,
                    "a member has gone silent with sessions: barriers await it until it is back or retired"
                );
                self.view.keep(&node);
            }
        }
    }

    /// How many sessions `node` had when it last reported.
    fn last_sessions(&self, node: &NodeId) -> u64 {
        let usage = self.tracker.usage(node);
        let routes = usage.into_iter().flat_map(|usage| usage.routes);
        routes.map(|(_, route)| route.sessions).sum()
    }
}

/// A small part of the lease of a silent member.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use pointsman_cutover::ports::{Clock, SystemClock};
    use pointsman_xds::{Lease, MetricFamily, MetricKind, MetricSample, TelemetrySink as _};

    use super::*;
    use crate::publish::tests::TestCatalog;

    fn sessions(count: f64) -> Vec<MetricFamily> {
        let label = ("envoy.cluster_name".to_owned(), "writer/orders".to_owned());
        vec![MetricFamily {
            name: "cluster.upstream_cx_active".to_owned(),
            kind: MetricKind::Gauge,
            samples: vec![MetricSample {
                labels: vec![label],
                value: count,
                count: 1,
            }],
        }]
    }

    #[tokio::test]
    async fn a_member_that_went_silent_with_sessions_is_kept() {
        let stored = TestCatalog::new().await;
        let running = stored.follow().await;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let tracker = Arc::new(SessionTracker::new(clock, Arc::clone(&running.holds)));
        let hour = Duration::from_secs(3600);
        let lease = Lease {
            cohort: "web".into(),
            closed: hour,
            silent: hour,
            restored: hour,
        };
        let [with, without, never] = ["web/a@1", "web/a@2", "web/a@3"];
        for id in [with, without, never] {
            running.fleet.expect_silent(id.into(), lease.clone());
        }
        tracker.metrics(&with.into(), sessions(2.0));
        tracker.metrics(&without.into(), sessions(0.0));
        let members = SilentMembers {
            view: Arc::clone(&running.view),
            tracker,
        };
        members.look();
        let left = members.view.silent_members();
        let left: Vec<_> = left.iter().map(NodeId::as_str).collect();
        assert_eq!(left, [without, never]);
    }
}
