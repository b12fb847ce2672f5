//! The control plane, as a client of its discovery service hears it.

mod backoff;
mod channel;
mod stream;

use std::time::Duration;

use pointsman_catalog::Endpoint;
use pointsman_xds::ClientTls;
use tokio::{sync::mpsc, time::sleep};
use tracing::{info, warn};

pub(super) use self::stream::Node;
use self::{backoff::Backoff, stream::Ending};
use super::keeper::News;

/// Asks for one sidecar's configuration, again and again.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) xds: Endpoint,
    pub(super) tls: Option<ClientTls>,
    pub(super) node: Node,
    /// How often it is asked whether what is known is still so.
    pub(super) refresh: Duration,
    pub(super) news: mpsc::Sender<News>,
}

impl Upstream {
    /// Tells what it hears, until nobody listens any more.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut said = None;
        loop {
            let ending = self.attempt().await;
            if matches!(ending, Ending::AfterService(_)) {
                backoff = Backoff::default();
                said = None;
            }
            let message = ending.to_string();
            if said.as_ref() != Some(&message) {
                match &ending {
                    Ending::AfterService(_) => info!(xds = %self.xds, "{message}"),
                    Ending::BeforeService(_) | Ending::Withdrawn(_) => {
                        warn!(xds = %self.xds, "{message}");
                    }
                }
                said = Some(message);
            }
            let news = match ending {
                Ending::AfterService(_) => News::Ended,
                Ending::BeforeService(_) => News::Unreachable,
                Ending::Withdrawn(reason) => News::Withdrawn(reason),
            };
            if self.news.send(news).await.is_err() {
                return;
            }
            sleep(backoff.next()).await;
        }
    }

    async fn attempt(&self) -> Ending {
        match channel::connect(&self.xds, self.tls.as_ref()).await {
            Ok(channel) => stream::follow(channel, &self.node, self.refresh, &self.news).await,
            Err(reason) => Ending::BeforeService(reason),
        }
    }
}

#[cfg(test)]
mod tests;
