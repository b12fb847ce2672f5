//! The fleet's status as a stream, sent again when it has changed.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use pointsman_cutover::ports::Monotonic;
use pointsman_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use crate::admin::context::AdminContext;

/// Sends the fleet's status now, and again when it differs in more than ages. The stream looks
/// at most once in [`MIN_INTERVAL`], so that a burst of acknowledgements is one message.
pub(in crate::admin) fn follow(
    admin: Arc<AdminContext>,
) -> impl Stream<Item = Result<v1::FleetStatusResponse, Status>> + Send {
    let follower = Follower {
        changes: admin.publishing.view.changes(),
        last_look: admin.clock.monotonic(),
        admin,
        told: None,
    };
    stream::unfold(follower, |mut follower| async {
        let status = follower.next().await;
        Some((Ok(status), follower))
    })
}

struct Follower {
    admin: Arc<AdminContext>,
    changes: watch::Receiver<u64>,
    told: Option<v1::FleetStatusResponse>,
    last_look: Monotonic,
}

impl Follower {
    async fn next(&mut self) -> v1::FleetStatusResponse {
        loop {
            if self.told.is_some() {
                let clock = Arc::clone(&self.admin.clock);
                let since = clock.elapsed(self.last_look);
                clock.sleep(MIN_INTERVAL.saturating_sub(since)).await;
                // Silence becomes LAGGING without any event.
                let _ = clock.timeout(TICK, self.changes.changed()).await;
            }
            self.last_look = self.admin.clock.monotonic();
            self.changes.borrow_and_update();
            let status = super::status(&self.admin);
            let told = ageless(&status);
            if self.told.as_ref() != Some(&told) {
                self.told = Some(told);
                return status;
            }
        }
    }
}

fn ageless(status: &v1::FleetStatusResponse) -> v1::FleetStatusResponse {
    let mut status = status.clone();
    for node in &mut status.nodes {
        node.acked_ms_ago = None;
        // The message says how long it has been away or silent.
        if node.state != "NACKED" {
            node.message.clear();
        }
        if let Some(usage) = &mut node.usage {
            usage.unknown.clear();
        }
    }
    for cache in &mut status.caches {
        cache.asked_ms_ago = 0;
    }
    status
}

/// The least time between two messages: people read no faster.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_secs(1);
