//! One type on one stream: what the client has, what the server may assume that it has, and what the
//! server may send.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    snapshot_generator::SnapshotGenerator,
    view::{Told, View},
};
use crate::{
    resource::{Resource, ResourceType, Version},
    snapshot::Snapshot,
    stream::{Response, Transport, UnconfirmedResources},
};

#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The subscription as the client has sent it, and as it has reached the server.
    pub(super) client: View,
    pub(super) server: View,
    /// What the client has accepted and has not forgotten.
    pub(super) held: BTreeMap<String, Version>,
    /// Resources of NACKed batches, which the client may have applied.
    pub(super) tainted: BTreeSet<String>,
    /// Resources that may have been deleted by NACKed full states, since the last ACK.
    lost: BTreeMap<String, Version>,
    /// The version of the last acknowledged response.
    pub(super) accepted: String,
    /// What the server may assume that the client has.
    known: BTreeMap<String, Version>,
    /// Names under which the client has something unknown.
    unknown: BTreeSet<String>,
    owed: BTreeSet<String>,
    answer_owed: bool,
    /// The client has accepted something on this stream.
    proven: bool,
    claimed: Option<Version>,
    /// What the client may have from a former stream.
    unconfirmed: UnconfirmedResources,
    /// By name: the version that was NACKed when it was sent alone.
    refused: BTreeMap<String, Option<Version>>,
    pub(super) in_flight: Option<Flight>,
    pub(super) nonces: Vec<String>,
    /// The nonce of the last response that reached the client.
    pub(super) received: String,
}

#[derive(Debug)]
pub(super) struct Flight {
    nonce: String,
    resources: BTreeMap<String, Version>,
    removed: BTreeSet<String>,
    void: BTreeSet<String>,
}

impl Peer {
    pub(super) fn latest(&self) -> &str {
        self.nonces.last().map_or("", String::as_str)
    }

    /// All names that the client wants, in a state-of-the-world request.
    pub(super) fn list(&self) -> Vec<String> {
        if self.client.is_legacy() {
            Vec::new()
        } else {
            self.full_list()
        }
    }

    /// All names that the client wants.
    pub(super) fn full_list(&self) -> Vec<String> {
        let all = self.client.wildcard.then(|| "*".to_owned());
        all.into_iter()
            .chain(self.client.names.iter().cloned())
            .collect()
    }

    /// The client reconnects. The client keeps its resources, and the fleet what it may have. A restarted
    /// server does not know the effect of former NACKed responses; that case is not modelled.
    pub(super) fn reconnected(&mut self, unconfirmed: Option<UnconfirmedResources>) -> &Self {
        if unconfirmed.is_none() {
            self.tainted.clear();
            self.held.append(&mut self.lost);
        }
        *self = Self {
            client: std::mem::take(&mut self.client),
            held: std::mem::take(&mut self.held),
            tainted: std::mem::take(&mut self.tainted),
            lost: std::mem::take(&mut self.lost),
            accepted: std::mem::take(&mut self.accepted),
            unconfirmed: unconfirmed.unwrap_or_default(),
            ..Self::default()
        };
        self
    }

    /// State of the world: the version that a first request brings counts if it is that of
    /// everything.
    pub(super) fn claim(&mut self, version: &str) {
        let counts = self.server.wildcard && self.unconfirmed.is_empty();
        self.claimed = Version::parse(version).filter(|_| counts);
    }

    /// Once there is something to compare it with.
    pub(super) fn recognise(&mut self, kind: ResourceType, snapshot: &Snapshot) {
        let claimed = self.claimed.take();
        if claimed == Some(snapshot.set(kind).version()) {
            self.known = self.held.clone();
        }
    }

    /// A request has arrived.
    pub(super) fn asked(
        &mut self,
        kind: ResourceType,
        full_state: bool,
        told: Told,
        listed: &BTreeMap<String, Version>,
        snapshot: Option<&Snapshot>,
    ) {
        if told.first {
            for (name, version) in listed.iter().filter(|(name, _)| self.server.covers(name)) {
                if kind == ResourceType::Endpoints || self.unconfirmed.claims_untrusted {
                    self.unknown.insert(name.clone());
                } else {
                    self.known.insert(name.clone(), *version);
                }
            }
        }
        if told.first {
            let names = self.unconfirmed.names.iter().map(ToString::to_string);
            for name in names.filter(|name| self.server.covers(name)) {
                self.known.remove(&name);
                self.unknown.insert(name);
            }
        }
        if full_state {
            // It may still have what it did not want for a while.
            let wanted = |name: &String| told.all_before || told.former.contains(name);
            let anew = |name: &String| self.server.covers(name) && !wanted(name);
            unsettle(&mut self.known, &mut self.unknown, anew);
        }
        self.answer_owed |= told.answer || (full_state && (told.first || !told.names.is_empty()));
        let listed = |name: &String| {
            told.first && kind != ResourceType::Endpoints && listed.contains_key(name)
        };
        self.owed
            .extend(told.names.into_iter().filter(|name| !listed(name)));
        if told.all_again
            && let Some(snapshot) = snapshot
        {
            let names = snapshot
                .set(kind)
                .iter()
                .map(|resource| resource.name().to_string());
            self.owed.extend(names);
        }
        let server = &self.server;
        if !full_state {
            self.known.retain(|name, _| server.covers(name));
            self.unknown.retain(|name| server.covers(name));
        }
        self.owed.retain(|name| server.covers(name));
        self.refused.retain(|name, _| server.covers(name));
    }

    /// An answer has arrived; a stale one says nothing.
    pub(super) fn answered(&mut self, nonce: &str, refused: bool, full_state: bool) {
        let Some(flight) = self.in_flight.take_if(|flight| flight.nonce == nonce) else {
            return;
        };
        self.proven |= !refused;
        let alone = flight.resources.len() + flight.removed.len() == 1;
        if full_state && refused {
            let absent = |name: &String| !flight.resources.contains_key(name);
            unsettle(&mut self.known, &mut self.unknown, absent);
        } else if full_state {
            self.known.clear();
            self.unknown.clear();
        }
        let sent = flight
            .resources
            .iter()
            .map(|(name, version)| (name, Some(*version)));
        for (name, version) in sent.chain(flight.removed.iter().map(|name| (name, None))) {
            if !self.server.covers(name) && !full_state {
                continue;
            }
            match (refused, version) {
                // Given up meanwhile and asked for again, it may be there nevertheless.
                (false, _) if flight.void.contains(name) => {
                    self.unknown.insert(name.clone());
                }
                (false, version) => {
                    self.unknown.remove(name);
                    self.refused.remove(name);
                    match version {
                        Some(version) => self.known.insert(name.clone(), version),
                        None => self.known.remove(name),
                    };
                }
                (true, version) if alone => {
                    self.refused.insert(name.clone(), version);
                }
                (true, _) => {
                    self.known.remove(name);
                    self.refused.remove(name);
                    self.unknown.insert(name.clone());
                }
            }
        }
    }

    pub(super) fn published(
        &mut self,
        kind: ResourceType,
        snapshot: &Snapshot,
        transport: Transport,
        full_state: bool,
    ) {
        let current = |name: &String| snapshot.set(kind).get(name).map(Resource::version);
        self.refused
            .retain(|name, version| current(name) == *version);
        if transport == Transport::StateOfTheWorld && !full_state {
            self.known.retain(|name, _| current(name).is_some());
            self.unknown.retain(|name| current(name).is_some());
        }
    }

    /// The client is about to forget its endpoints.
    pub(super) fn void(&mut self, name: &str) {
        if !self.server.started || !self.server.covers(name) {
            return;
        }
        self.known.remove(name);
        self.unknown.insert(name.to_owned());
        self.owed.insert(name.to_owned());
        if let Some(flight) = &mut self.in_flight {
            flight.void.insert(name.to_owned());
        }
    }

    /// Checks a response against what may be sent now. Returns what the client warms because of it.
    pub(super) fn emitted(
        &mut self,
        response: &Response,
        snapshot: &Snapshot,
        full_state: bool,
    ) -> Result<Vec<String>, String> {
        let set = snapshot.set(response.kind);
        let resources: BTreeMap<_, _> = response
            .resources
            .iter()
            .map(|resource| (resource.name().to_string(), resource.version()))
            .collect();
        let gone = response.removed.iter().chain(&response.absent);
        let removed: BTreeSet<_> = gone.map(ToString::to_string).collect();
        self.shape(response, &resources, &removed)?;
        if full_state {
            let mut wanted = set
                .iter()
                .filter(|resource| self.server.covers(resource.name()));
            ensure(
                wanted.all(|r| resources.contains_key(&**r.name())),
                "X16: the full state is not complete",
            )?;
        }
        let mut changed = Vec::new();
        for (name, version) in &resources {
            let current = set.get(name).map(Resource::version);
            let known = self.known.get(name) == Some(version);
            let departing = full_state && current.is_none() && known;
            ensure(
                departing || current == Some(*version),
                "X52: not of the newest snapshot",
            )?;
            ensure(self.server.covers(name), "X10: sent unasked")?;
            ensure(
                full_state || !known || self.owed.contains(name),
                "X6: sent again",
            )?;
            let refused = !full_state && self.refused.get(name) == Some(&Some(*version));
            ensure(
                !refused || self.owed.contains(name),
                "X23: refused and sent again",
            )?;
            // X45: sending is enough, except beside what has to be sent along.
            if !full_state || !known {
                changed.push(name.clone());
            }
        }
        for name in &removed {
            ensure(set.get(name).is_none(), "a served resource is removed")?;
            ensure(self.server.covers(name), "X30: removed unasked")?;
            let had = self.known.contains_key(name) || self.unknown.contains(name);
            ensure(had || self.owed.contains(name), "X33: removed again")?;
            let waits = !had && response.kind == ResourceType::VirtualHost;
            let absent = response.absent.iter().any(|absent| **absent == **name);
            ensure(
                waits == absent,
                "a host is absent or removed, as the client has it",
            )?;
        }
        let names = resources.keys().chain(&removed);
        let owed = &mut self.owed;
        names.for_each(|name| {
            owed.remove(name);
        });
        self.answer_owed = false;
        self.nonces.push(response.nonce.to_string());
        self.in_flight = Some(Flight {
            nonce: response.nonce.to_string(),
            resources,
            removed,
            void: BTreeSet::new(),
        });
        Ok(changed)
    }

    fn shape(
        &self,
        response: &Response,
        resources: &BTreeMap<String, Version>,
        removed: &BTreeSet<String>,
    ) -> Result<(), String> {
        ensure(
            self.in_flight.is_none(),
            "two responses of a type are in flight",
        )?;
        ensure(self.server.started, "X3: a type that nobody asked for")?;
        let nonce = &*response.nonce;
        let fresh = !nonce.is_empty() && self.nonces.iter().all(|former| former != nonce);
        ensure(fresh, "X4: a nonce is empty or comes again")?;
        let names: HashSet<_> = resources.keys().chain(removed).collect();
        let count = response.resources.len() + response.removed.len() + response.absent.len();
        ensure(names.len() == count, "X7: a name occurs twice")?;
        ensure(
            count > 0 || self.answer_owed || !self.proven || removed_all(self, resources),
            "X12: an empty response",
        )
    }

    /// The client receives a response. Returns whether it NACKs it.
    pub(super) fn receive(
        &mut self,
        response: &Response,
        state: &SnapshotGenerator,
        transport: Transport,
        full_state: bool,
    ) -> bool {
        let names = response
            .resources
            .iter()
            .map(|resource| resource.name().to_string());
        if response
            .resources
            .iter()
            .any(|resource| state.is_bad(resource.version()))
        {
            if full_state {
                // Envoy deletes first, also if it rejects the additions.
                let named: BTreeSet<_> = names.clone().collect();
                let lost = self.held.extract_if(.., |name, _| !named.contains(name));
                self.lost.extend(lost);
            }
            let gone = response.removed.len() + response.absent.len();
            if response.resources.len() + gone > 1 {
                self.tainted.extend(names);
            }
            return true;
        }
        if full_state {
            self.held.clear();
            self.tainted.clear();
            self.lost.clear();
        }
        self.accepted = response.version.to_string();
        for resource in response.resources.iter() {
            let name = resource.name().to_string();
            self.tainted.remove(&name);
            // Delta: what it does not want any more, it ignores.
            if transport == Transport::StateOfTheWorld || self.client.covers(&name) {
                self.held.insert(name, resource.version());
            }
        }
        for name in &response.removed {
            self.held.remove(&**name);
            self.tainted.remove(&**name);
        }
        false
    }

    /// Where state of the world loses names in a request that crosses a response, an empty list
    /// may come to mean everything at the server.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.server.covers(name) && self.client.covers(name)
    }

    pub(super) fn is_understood(&self) -> bool {
        let nothing = self.client.names.is_empty() && !self.client.wildcard;
        nothing || self.agrees()
    }

    pub(super) fn agrees(&self) -> bool {
        let [client, server] = [&self.client, &self.server];
        client.wildcard == server.wildcard && client.names == server.names
    }

    /// The client has changed what it wants. The version that it accepted is of something else.
    /// What it does not want any more it forgets, if it can be sure that the server hears of
    /// that: a request of state of the world may be passed over.
    pub(super) fn forget(&mut self, transport: Transport) {
        self.accepted.clear();
        if transport == Transport::StateOfTheWorld {
            return;
        }
        let client = &self.client;
        self.held.retain(|name, _| client.covers(name));
        self.tainted.retain(|name| client.covers(name));
    }

    /// Whether the client has exactly what `snapshot` says. The server's view does not count.
    pub(super) fn has_all(
        &self,
        kind: ResourceType,
        snapshot: &Snapshot,
        exact: bool,
    ) -> Result<(), String> {
        let set = snapshot.set(kind);
        for resource in set.iter().filter(|resource| self.wants(resource.name())) {
            let held = self.held.get(&**resource.name());
            let tainted = self.tainted.contains(&**resource.name());
            if held != Some(&resource.version()) || tainted {
                return Err(format!(
                    "{resource:?} is {held:?} at the client, tainted: {tainted}"
                ));
            }
        }
        let extra = self
            .held
            .keys()
            .find(|name| exact && self.wants(name) && set.get(name).is_none());
        extra.map_or(Ok(()), |name| Err(format!("{kind} {name} should be gone")))
    }
}

/// Makes unknown what the client has under these names.
fn unsettle(
    known: &mut BTreeMap<String, Version>,
    unknown: &mut BTreeSet<String>,
    which: impl Fn(&String) -> bool,
) {
    let unsettled = known.extract_if(.., |name, _| which(name));
    unknown.extend(unsettled.map(|(name, _)| name));
}

/// State of the world deletes the last one by an empty response.
fn removed_all(peer: &Peer, resources: &BTreeMap<String, Version>) -> bool {
    resources.is_empty() && !(peer.known.is_empty() && peer.unknown.is_empty())
}

pub(super) fn ensure(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}
