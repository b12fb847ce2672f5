//! Members of sidecar groups that went while they had sessions.
//!
//! ```text
//!   no stream holds its lease ─► its last report shows sessions ─► the lease is kept
//!                                        its connection was closed ─► the servers are asked ─┬─► gone: released
//!                                                                                            └─► else: kept
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use pointsman_catalog::NodeId;
use pointsman_cutover::ports::Clients;
use pointsman_xds::{Absence, LeaseStatus, NodeStatus};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{node::LastSessions, server_clients::AskClients, session_tracker::SessionTracker};
use crate::publish::FleetView;

/// Keeps the leases of members that went while their last report shows sessions, until the servers show that
/// those are gone. Of one that has gone silent they could not: behind a cut cable it may make new ones.
#[derive(Debug)]
pub(crate) struct AbsentMembers {
    pub(crate) view: Arc<FleetView>,
    pub(crate) tracker: Arc<SessionTracker>,
    pub(crate) servers: Arc<dyn AskClients>,
    /// Whose sessions are gone, and the lease that is to end for that.
    pub(crate) released: Mutex<BTreeMap<NodeId, LeaseStatus>>,
}

/// What the servers say, by endpoint.
type Answers = BTreeMap<SocketAddr, Result<Clients, String>>;

impl AbsentMembers {
    /// Looks again and again, until `stop`. A server that does not answer keeps nobody's lease from being kept.
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_again() => {}
            () = self.ask_again() => {}
        }
    }

    async fn keep_again(&self) {
        loop {
            self.tracker.clock.sleep(LOOK_INTERVAL).await;
            self.keep();
        }
    }

    async fn ask_again(&self) {
        let mut said = BTreeMap::new();
        loop {
            self.tracker.clock.sleep(ASK_INTERVAL).await;
            self.ask(&mut said).await;
        }
    }

    /// Keeps the leases of those that had sessions.
    fn keep(&self) {
        let away: Vec<_> = self.away().collect();
        let mut released = self.released();
        released.retain(|node, lease| away.iter().any(|(id, _, now)| id == node && now == lease));
        let ending = away.into_iter().filter(|(_, _, lease)| !lease.is_kept());
        for (node, _, lease) in ending.filter(|(node, _, _)| !released.contains_key(node)) {
            // Of one that has never reported nothing is known; its lease is the one that its absence has.
            let Some(last) = self.tracker.last_sessions(&node) else {
                continue;
            };
            if last.count == 0 {
                continue;
            }
            if lease.absence == Some(Absence::Silent) {
                warn!(
                    %node, sessions = last.count,
                    "a member has gone silent with sessions: barriers await it until it is back or retired"
                );
            }
            self.view.keep(&node);
        }
    }

    /// Releases those whose connections are gone. `said` is what the log has of each.
    async fn ask(&self, said: &mut BTreeMap<NodeId, String>) {
        let waiting = self.away().filter(|(_, _, lease)| is_closed(lease));
        let waiting: Vec<_> = waiting
            .filter_map(|(node, from, _)| Some((self.tracker.last_sessions(&node)?, node, from)))
            .collect();
        said.retain(|node, _| waiting.iter().any(|(_, waits, _)| waits == node));
        let answers = self.answers(waiting.iter().map(|(last, _, _)| last)).await;
        for (last, node, from) in waiting {
            let Some(reason) = still_there(&last, from, &answers) else {
                info!(%node, "the servers have no connection of a member that went");
                self.release(&node);
                continue;
            };
            if said.get(&node) != Some(&reason) {
                warn!(
                    %node,
                    "a member went with sessions, and they are not shown to be gone: barriers await it until \
                     they are, or it is back or retired: {reason}"
                );
                said.insert(node, reason);
            }
        }
    }

    fn release(&self, node: &NodeId) {
        // Locked before, so that it is not kept again in between.
        let mut released = self.released();
        self.view.release(node);
        if let Some((_, _, lease)) = self.away().find(|(id, _, _)| id == node) {
            released.insert(node.clone(), lease);
        }
    }

    fn released(&self) -> MutexGuard<'_, BTreeMap<NodeId, LeaseStatus>> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answers(&self, of: impl Iterator<Item = &LastSessions>) -> Answers {
        let endpoints = of.flat_map(|last| last.known.iter().map(|(endpoint, _)| *endpoint));
        let endpoints: BTreeSet<_> = endpoints.collect();
        let asked = endpoints
            .into_iter()
            .map(async |endpoint| (endpoint, self.servers.clients(endpoint).await));
        join_all(asked).await.into_iter().collect()
    }

    /// The members whose lease no stream holds, and from where each was connected last.
    fn away(&self) -> impl Iterator<Item = (NodeId, Option<IpAddr>, LeaseStatus)> {
        let away = self.view.away().into_iter();
        away.filter_map(|status: NodeStatus| {
            let from = status.peers.last().map(|peer| peer.address.ip());
            Some((NodeId::new(status.id.as_str()).ok()?, from, status.lease?))
        })
    }
}

/// Whether it is kept and its connection was closed.
fn is_closed(lease: &LeaseStatus) -> bool {
    lease.is_kept() && lease.absence != Some(Absence::Silent)
}

/// Why the sessions of a member that was connected `from` there may still be open; `None` if the servers show
/// that they are gone.
fn still_there(last: &LastSessions, from: Option<IpAddr>, answers: &Answers) -> Option<String> {
    if last.untold > 0 {
        return Some(format!(
            "it has not told where {} of its sessions are",
            last.untold
        ));
    }
    last.known
        .iter()
        .find_map(|(endpoint, socket)| is_open(*endpoint, *socket, from, answers))
}

fn is_open(
    endpoint: SocketAddr,
    socket: Option<SocketAddr>,
    from: Option<IpAddr>,
    answers: &Answers,
) -> Option<String> {
    let clients = match answers.get(&endpoint) {
        Some(Ok(clients)) => clients,
        Some(Err(reason)) => return Some(reason.clone()),
        None => return Some(format!("the server at {endpoint} was not asked")),
    };
    let Some(socket) = socket else {
        return Some(format!(
            "it has not told its own end of a session on the server at {endpoint}"
        ));
    };
    if clients.sockets.contains(&socket) {
        return Some(format!(
            "the server at {endpoint} has its session from {socket}"
        ));
    }
    if clients.hidden > 0 {
        return Some(format!(
            "the control role may not see {} sessions of the server at {endpoint}: GRANT pg_monitor",
            clients.hidden
        ));
    }
    let own = Some(socket.ip());
    (own != from && own != clients.own).then(|| {
        format!(
            "its connections come from {}, and it was seen at another address: the server at {endpoint} may \
             see them as another's, too",
            socket.ip()
        )
    })
}

/// A small part of the shortest lease.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
const ASK_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
