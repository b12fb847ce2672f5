//! Servers that every sidecar is asked to try.
//!
//! A sidecar tries whatever endpoints a probe cluster has, so trying begins and ends with a
//! publish. It ends by itself: each try costs the server a process.

use std::{net::SocketAddr, sync::PoisonError, time::Duration};

use pointsman_catalog::{DatabaseName, ServerName, UnixMillis};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Publisher;

/// A server that sidecars try by way of a database's probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Probed {
    pub(crate) server: ServerName,
    /// What of it is tried.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Results of before are of something else.
    pub(crate) since: Instant,
    until: Instant,
}

impl Publisher {
    /// Has every sidecar try `server` for the next minutes. Returns since when they do.
    ///
    /// # Errors
    /// Words, if the sidecars cannot be told.
    pub(crate) async fn probe(
        &self,
        database: &DatabaseName,
        server: &ServerName,
    ) -> Result<Instant, String> {
        let now = Instant::now();
        let mut world = self.world.lock().await;
        let addresses = world.addresses().remove(server).unwrap_or_default();
        if addresses.is_empty() {
            return Err(format!("the endpoint of {server} has no resolved address"));
        }
        let former = world.probes.get_mut(database).filter(|former| {
            former.server == *server && former.addresses == addresses && former.until > now
        });
        if let Some(former) = former {
            former.until = now + TRIED_FOR;
            return Ok(former.since);
        }
        let probed = Probed {
            server: server.clone(),
            addresses,
            since: now,
            until: now + TRIED_FOR,
        };
        let former = world.probes.insert(database.clone(), probed);
        let sent = world
            .render_one(database, UnixMillis::now())
            .and_then(|()| self.send(&world));
        if let Err(words) = sent {
            match former {
                Some(former) => world.probes.insert(database.clone(), former),
                None => world.probes.remove(database),
            };
            return Err(words);
        }
        self.note_probes(&world);
        drop(world);
        // The end of it must be watched.
        self.held.notify_one();
        info!(%database, %server, "sidecars try the server");
        Ok(now)
    }

    /// What sidecars try now, by database.
    pub(crate) fn probed(&self) -> Vec<(DatabaseName, Probed)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let probes = known.probes.iter();
        probes
            .map(|(database, probed)| (database.clone(), probed.clone()))
            .collect()
    }

    /// When the first of the probes is over.
    pub(super) async fn next_probe_end(&self) -> Option<Instant> {
        let world = self.world.lock().await;
        world.probes.values().map(|probed| probed.until).min()
    }

    /// Takes probes whose time is over from the sidecars.
    pub(super) async fn end_probes(&self) {
        let now = Instant::now();
        let mut world = self.world.lock().await;
        let over: Vec<_> = world
            .probes
            .iter()
            .filter(|(_, probed)| probed.until <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for database in over {
            world.probes.remove(&database);
            let sent = world
                .render_one(&database, UnixMillis::now())
                .and_then(|()| self.send(&world));
            if let Err(words) = sent {
                warn!(%database, words, "the end of a probe could not be published");
            }
        }
        self.note_probes(&world);
    }

    fn note_probes(&self, world: &super::World) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.probes.clone_from(&world.probes);
    }
}

/// From one look at the results to the next: people read a preflight before they switch.
const TRIED_FOR: Duration = Duration::from_secs(600);
