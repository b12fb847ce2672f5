//! A run: publishes, requests, answers, stale answers, time and reconnects in any order, with messages
//! in flight in both directions.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Choices,
    peer::{Peer, ensure},
    snapshot_generator::{KINDS, NAMES, SnapshotGenerator},
};
use crate::{
    fixture::TERMS,
    published::PublishedSnapshot,
    resource::{Resource, ResourceType, Version},
    sequence::Sequence,
    stream::{DeltaRequest, Machine, Reply, Response, SotwRequest, Transport, UnconfirmedByType},
};

/// Runs `steps` random steps, then delivers everything in flight. The error tells the violation and the
/// events before it.
pub(crate) fn play(
    transport: Transport,
    choices: &mut impl Choices,
    steps: usize,
) -> Result<(), String> {
    let mut run = Run::new(transport);
    let mut outcome = Ok(());
    for _ in 0..steps {
        outcome = outcome.and_then(|()| run.step(choices));
    }
    outcome
        .and_then(|()| run.rest())
        .map_err(|broken| format!("{broken}\n{}", run.trace.join("\n")))
}

struct Run {
    transport: Transport,
    state: SnapshotGenerator,
    machine: Machine,
    published: Option<Arc<PublishedSnapshot>>,
    sequence: u64,
    now: Instant,
    peers: BTreeMap<ResourceType, Peer>,
    to_client: VecDeque<Response>,
    to_server: VecDeque<Request>,
    clusters_sent: Vec<String>,
    trace: Vec<String>,
    starts: u32,
    /// Of former streams.
    unconfirmed: UnconfirmedByType,
}

#[derive(Clone, Debug)]
struct Request {
    kind: ResourceType,
    names: Vec<String>,
    unsubscribe: Vec<String>,
    listed: BTreeMap<String, Version>,
    version: String,
    nonce: String,
    refused: bool,
}

impl Run {
    fn new(transport: Transport) -> Self {
        Self {
            transport,
            state: SnapshotGenerator::new(),
            machine: Machine::new(transport, "server0".into(), TERMS),
            published: None,
            sequence: 0,
            now: Instant::now(),
            peers: KINDS
                .into_iter()
                .map(|kind| (kind, Peer::default()))
                .collect(),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            clusters_sent: Vec::new(),
            trace: Vec::new(),
            starts: 0,
            unconfirmed: UnconfirmedByType::default(),
        }
    }

    fn step(&mut self, choices: &mut impl Choices) -> Result<(), String> {
        match choices.below(16) {
            1..=2 => self.publish(choices),
            3..=5 => self.subscribe(choices),
            6 => self.unsubscribe(choices),
            7..=10 => self.receive(),
            11..=13 => return self.arrive(),
            14 => self.stale(choices),
            15 if choices.once_in(4) => self.reconnect(choices),
            15 => self.now += Duration::from_secs(1),
            _ => {}
        }
        self.advance()
    }

    fn publish(&mut self, choices: &mut impl Choices) {
        let snapshot = self.state.turn(choices);
        self.sequence += 1;
        // A stream may miss a publish, and then sees changes that are not from what it has.
        let missed = choices.once_in(4);
        let former = self.published.as_deref();
        let published = Arc::new(PublishedSnapshot::after(
            Sequence::from(self.sequence),
            snapshot.clone(),
            former,
        ));
        self.trace.push(format!(
            "publish {} missed: {missed}: {}",
            self.sequence,
            line(KINDS.iter().flat_map(|kind| snapshot.set(*kind).iter()))
        ));
        self.published = Some(Arc::clone(&published));
        if missed {
            return self.publish(choices);
        }
        for (kind, peer) in &mut self.peers {
            let full_state = is_full_state(self.transport, *kind);
            peer.published(*kind, &snapshot, self.transport, full_state);
        }
        self.machine.publish(published);
    }

    fn subscribe(&mut self, choices: &mut impl Choices) {
        let (kind, names) = (any_kind(choices), any_names(choices));
        let listed = if choices.once_in(8) {
            self.peers[&kind].held.clone()
        } else {
            BTreeMap::new()
        };
        self.ask(kind, names, Vec::new(), listed);
    }

    fn unsubscribe(&mut self, choices: &mut impl Choices) {
        let (kind, names) = (any_kind(choices), any_names(choices));
        let also = if choices.once_in(4) {
            any_names(choices)
        } else {
            Vec::new()
        };
        self.ask(kind, also, names, BTreeMap::new());
    }

    /// The client changes what it wants. State of the world says all of it, each time.
    fn ask(
        &mut self,
        kind: ResourceType,
        names: Vec<String>,
        unsubscribe: Vec<String>,
        listed: BTreeMap<String, Version>,
    ) {
        let peer = self.peer(kind);
        let first = !peer.client.started;
        let nonce = peer.received.clone();
        let transport = self.transport;
        match transport {
            Transport::Delta => {
                let peer = self.peer(kind);
                peer.client.delta(&names, &unsubscribe);
                peer.forget(transport);
                let listed = if first { peer.held.clone() } else { listed };
                self.send(Request {
                    kind,
                    names,
                    unsubscribe,
                    listed,
                    version: String::new(),
                    nonce: String::new(),
                    refused: false,
                });
            }
            Transport::StateOfTheWorld => {
                let peer = self.peer(kind);
                peer.client.sotw(&names);
                peer.forget(transport);
                let version = peer.accepted.clone();
                self.send(Request {
                    kind,
                    names,
                    unsubscribe: Vec::new(),
                    listed: BTreeMap::new(),
                    version,
                    nonce,
                    refused: false,
                });
            }
        }
    }

    fn send(&mut self, request: Request) {
        self.trace.push(format!("client asks {request:?}"));
        self.to_server.push_back(request);
    }

    /// The client gets a response, and answers it.
    fn receive(&mut self) {
        let Some(response) = self.to_client.pop_front() else {
            return;
        };
        let kind = response.kind;
        let full_state = is_full_state(self.transport, kind);
        let (transport, state) = (self.transport, &self.state);
        let Some(peer) = self.peers.get_mut(&kind) else {
            return;
        };
        let refused = peer.receive(&response, state, transport, full_state);
        peer.received = response.nonce.to_string();
        let names = match transport {
            Transport::Delta => Vec::new(),
            Transport::StateOfTheWorld => peer.list(),
        };
        self.send(Request {
            kind,
            names,
            unsubscribe: Vec::new(),
            listed: BTreeMap::new(),
            version: String::new(),
            nonce: response.nonce.to_string(),
            refused,
        });
    }

    /// A request reaches the server.
    fn arrive(&mut self) -> Result<(), String> {
        if let Some(request) = self.to_server.pop_front() {
            self.enter(&request);
        }
        self.advance()
    }

    fn stale(&mut self, choices: &mut impl Choices) {
        let kind = any_kind(choices);
        let peer = &self.peers[&kind];
        if !peer.server.started {
            return;
        }
        let former = peer.nonces.len().saturating_sub(1);
        let nonce = match choices.below(former + 1) {
            0 => "elsewhere-1".to_owned(),
            at => peer.nonces[at - 1].clone(),
        };
        let request = Request {
            kind,
            names: Vec::new(),
            unsubscribe: Vec::new(),
            listed: BTreeMap::new(),
            version: String::new(),
            nonce,
            refused: choices.below(2) == 0,
        };
        self.trace.push(format!("stale {request:?}"));
        self.enter(&request);
    }

    fn enter(&mut self, request: &Request) {
        self.trace
            .push(format!("server takes {:?} {}", request.kind, request.nonce));
        let kind = request.kind;
        let full_state = is_full_state(self.transport, kind);
        let snapshot = self
            .published
            .as_ref()
            .map(|published| published.snapshot.clone());
        let now = self.now;
        let reply = || Reply {
            nonce: request.nonce.clone(),
            error: request.refused.then(|| "bad".into()),
        };
        let transport = self.transport;
        let peer = self.peer(kind);
        let entered = match transport {
            Transport::Delta => {
                peer.answered(&request.nonce, request.refused, full_state);
                if let Some(snapshot) = &snapshot {
                    peer.published(kind, snapshot, transport, full_state);
                }
                let told = peer.server.delta(&request.names, &request.unsubscribe);
                peer.asked(kind, full_state, told, &request.listed, snapshot.as_ref());
                let versions = request.listed.iter();
                let request = DeltaRequest {
                    subscribe: request.names.clone(),
                    unsubscribe: request.unsubscribe.clone(),
                    initial_versions: versions.map(|(n, v)| (n.clone(), v.to_string())).collect(),
                    reply: reply(),
                };
                self.machine.delta(kind, &request, now)
            }
            Transport::StateOfTheWorld => {
                if !peer.server.started || request.nonce == peer.latest() {
                    peer.answered(&request.nonce, request.refused, full_state);
                    if let Some(snapshot) = &snapshot {
                        peer.published(kind, snapshot, transport, full_state);
                    }
                    let told = peer.server.sotw(&request.names);
                    if told.first && full_state {
                        peer.claim(&request.version);
                    }
                    peer.asked(kind, full_state, told, &BTreeMap::new(), snapshot.as_ref());
                }
                let request = SotwRequest {
                    names: request.names.clone(),
                    version: request.version.clone(),
                    reply: reply(),
                };
                self.machine.sotw(kind, &request, now)
            }
        };
        if let Err(violation) = entered {
            unreachable!("{violation}");
        }
    }

    /// The stream breaks with all that is on its way; the client says on the next one what it
    /// wants and has.
    fn reconnect(&mut self, choices: &mut impl Choices) {
        let remembers = choices.once_in(2);
        self.trace
            .push(format!("reconnect, remembered: {remembers}"));
        self.starts += 1;
        let mut machine = Machine::new(
            self.transport,
            format!("server{}", self.starts).into(),
            TERMS,
        );
        let unconfirmed = remembers.then(|| self.unconfirmed());
        machine.set_unconfirmed(unconfirmed.clone());
        self.unconfirmed = unconfirmed.as_deref().cloned().unwrap_or_default();
        self.machine = machine;
        if let Some(published) = &self.published {
            self.machine.publish(Arc::clone(published));
        }
        self.to_client.clear();
        self.to_server.clear();
        self.clusters_sent.clear();
        let early = choices.below(KINDS.len());
        let mut kinds = KINDS;
        kinds.rotate_left(early);
        for kind in kinds {
            let unconfirmed = unconfirmed.as_ref().map(|by_type| by_type.of(kind).clone());
            let peer = self.peer(kind).reconnected(unconfirmed);
            let started = peer.client.started;
            let names = peer.full_list();
            let (listed, version) = (peer.held.clone(), peer.accepted.clone());
            if kind == ResourceType::Cluster {
                self.clusters_sent.extend(listed.keys().cloned());
            }
            if !started {
                continue;
            }
            let peer = self.peer(kind);
            peer.client.started = false;
            self.ask_anew(kind, names, listed, version);
        }
    }

    /// As the fleet keeps them: of types that were not asked for on this stream, those before.
    fn unconfirmed(&self) -> Box<UnconfirmedByType> {
        let mut unconfirmed = self.unconfirmed.clone();
        for (kind, resources) in self.machine.unconfirmed() {
            unconfirmed.set(kind, resources);
        }
        Box::new(unconfirmed)
    }

    fn ask_anew(
        &mut self,
        kind: ResourceType,
        names: Vec<String>,
        listed: BTreeMap<String, Version>,
        version: String,
    ) {
        let transport = self.transport;
        let peer = self.peer(kind);
        peer.client = Default::default();
        let (names, unsubscribe) = match transport {
            // Nothing is wanted: an empty first request would say "everything".
            _ if names.is_empty() => return,
            Transport::Delta => {
                peer.client.delta(&names, &[]);
                (names, Vec::new())
            }
            Transport::StateOfTheWorld => {
                peer.client.sotw(&names);
                (names, Vec::new())
            }
        };
        self.send(Request {
            kind,
            names,
            unsubscribe,
            listed,
            version,
            nonce: String::new(),
            refused: false,
        });
    }

    fn advance(&mut self) -> Result<(), String> {
        if let Some(published) = &self.published {
            for (kind, peer) in &mut self.peers {
                peer.recognise(*kind, &published.snapshot);
            }
        }
        let responses = self.machine.advance(self.now);
        for response in responses {
            self.emitted(response)?;
        }
        self.check_synced()
    }

    fn emitted(&mut self, response: Response) -> Result<(), String> {
        self.trace.push(format!(
            "server sends {} {}: {} -{:?} ?{:?}",
            response.kind,
            response.nonce,
            line(response.resources.iter()),
            response.removed,
            response.absent
        ));
        let Some(published) = self.published.clone() else {
            return Err("something is sent before anything is published".to_owned());
        };
        let snapshot = &published.snapshot;
        let kind = response.kind;
        let full_state = is_full_state(self.transport, kind);
        let changed = self.peer(kind).emitted(&response, snapshot, full_state)?;
        if kind == ResourceType::Cluster {
            for name in changed {
                // A cluster here asks for its endpoints by its own name.
                if snapshot.set(kind).get(&name).is_some() {
                    self.peer(ResourceType::Endpoints).void(&name);
                }
                self.clusters_sent.push(name);
            }
        }
        self.to_client.push_back(response);
        Ok(())
    }

    /// Checks that the machine reports convergence only if the client has everything.
    fn check_synced(&mut self) -> Result<(), String> {
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
    fn rest(&mut self) -> Result<(), String> {
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
    fn rested(
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

    /// Whether missing resources are removed from the client.
    fn is_exact(&self, kind: ResourceType) -> bool {
        self.transport == Transport::Delta || is_full_state(self.transport, kind)
    }

    fn peer(&mut self, kind: ResourceType) -> &mut Peer {
        self.peers.entry(kind).or_default()
    }
}

fn is_full_state(transport: Transport, kind: ResourceType) -> bool {
    transport == Transport::StateOfTheWorld
        && matches!(
            kind,
            ResourceType::Cluster | ResourceType::Listener | ResourceType::ScopedRoute
        )
}

fn any_kind(choices: &mut impl Choices) -> ResourceType {
    KINDS[choices.below(KINDS.len())]
}

fn any_names(choices: &mut impl Choices) -> Vec<String> {
    let bits = choices.below(1 << (NAMES.len() + 1));
    let all = NAMES.iter().chain([&"*"]).enumerate();
    all.filter(|(at, _)| bits & (1 << at) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn line<'a>(resources: impl Iterator<Item = &'a Resource>) -> String {
    let short = |resource: &Resource| {
        let version = resource.version().to_string();
        format!(
            "{:?} {}@{}",
            resource.kind(),
            resource.name(),
            &version[..4]
        )
    };
    resources.map(short).collect::<Vec<_>>().join(", ")
}
