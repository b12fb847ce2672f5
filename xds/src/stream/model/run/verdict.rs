//! What must be true of a run that reports convergence, and of one that has come to rest.

use std::time::Duration;

use super::{
    super::peer::{Peer, ensure},
    state::{Run, is_full_state},
};
use crate::{
    published::PublishedSnapshot,
    resource::{Resource, ResourceType},
};

impl Run {
    /// Checks that the machine reports convergence only if the client has everything.
    pub(super) fn check_synced(&mut self) -> Result<(), String> {
        let Some(synced) = self.machine.synced_to() else {
            return Ok(());
        };
        let Some(published) = &self.published else {
            return Err("synced to nothing".to_owned());
        };
        ensure(synced == published.sequence, "synced to something old")?;
        for (kind, peer) in &self.peers {
            let on_its_way = self.to_server.iter().any(|request| request.kind == *kind);
            if !peer.server.started || on_its_way {
                continue;
            }
            ensure(peer.in_flight.is_none(), "synced with a response in flight")?;
            let exact = self.is_exact(*kind);
            peer.has_all(*kind, &published.snapshot, exact)
                .map_err(|broken| format!("synced falsely: {broken}"))?;
        }
        Ok(())
    }

    /// Delivers everything in flight. The machine must then send what is due, and nothing else.
    pub(super) fn rest(&mut self) -> Result<(), String> {
        self.trace.push("rest".to_owned());
        for round in 0.. {
            ensure(round < 400, "it does not come to rest")?;
            if self.to_client.is_empty() && self.to_server.is_empty() {
                self.now += Duration::from_secs(3);
                self.advance()?;
                if self.to_client.is_empty() {
                    break;
                }
            }
            self.receive();
            self.arrive()?;
        }
        let Some(published) = self.published.clone() else {
            return Ok(());
        };
        let mut all = true;
        for (kind, peer) in &self.peers {
            all &= self.rested(*kind, peer, &published)?;
        }
        let [clusters, endpoints, listeners] = [
            ResourceType::Cluster,
            ResourceType::Endpoints,
            ResourceType::Listener,
        ]
        .map(|kind| &self.peers[&kind]);
        let names = published
            .snapshot
            .set(ResourceType::Cluster)
            .iter()
            .map(Resource::name);
        let mut wanted = names.filter(|name| clusters.server.covers(name));
        let complete = wanted.all(|name| endpoints.server.covers(name));
        let begun = [clusters, endpoints, listeners]
            .iter()
            .all(|peer| peer.server.started);
        let begun = begun && self.peers.values().all(Peer::agrees);
        let synced = self.machine.synced_to().is_some();
        ensure(
            synced || !all || !complete || !begun,
            "all is there and nobody says so",
        )
    }

    /// Returns whether nothing is NACKed.
    pub(super) fn rested(
        &self,
        kind: ResourceType,
        peer: &Peer,
        published: &PublishedSnapshot,
    ) -> Result<bool, String> {
        if !peer.server.started {
            return Ok(true);
        }
        ensure(peer.in_flight.is_none(), "unanswered at rest")?;
        ensure(
            peer.is_understood(),
            "X19: another subscription than the client's",
        )?;
        let set = published.snapshot.set(kind);
        let bad: Vec<_> = set
            .iter()
            .filter(|r| peer.wants(r.name()) && self.state.is_bad(r.version()))
            .collect();
        if is_full_state(self.transport, kind) && !bad.is_empty() {
            return Ok(false);
        }
        let good = set
            .iter()
            .filter(|r| !bad.contains(r) && peer.wants(r.name()));
        for resource in good {
            let held = peer.held.get(&**resource.name());
            let tainted = peer.tainted.contains(&**resource.name());
            if held != Some(&resource.version()) || tainted {
                return Err(format!(
                    "at rest without {resource:?}: {held:?}, tainted: {tainted}"
                ));
            }
        }
        let gone = |name: &&String| peer.wants(name) && set.get(name).is_none();
        let extra = peer.held.keys().find(gone);
        if let Some(extra) = extra.filter(|_| self.is_exact(kind)) {
            return Err(format!("at rest {kind} {extra} is still there"));
        }
        Ok(bad.is_empty())
    }
}
