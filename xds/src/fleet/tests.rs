mod canary;
mod cohorts;
mod cost;
mod leases;
mod observers;
mod record;
mod unconfirmed;

use std::{collections::BTreeMap, future::ready, time::Duration};

use tokio::time::{Sleep, sleep};

use super::*;
use crate::{
    fixture::{TERMS, assignment, opaque},
    lease::LeaseStatus,
    resource::ResourceType::{self, Endpoints, Route},
    snapshot::Snapshot,
    stream::{DeltaRequest, Machine, Reply, Response, Transport, TypeState},
};

struct TestControlPlane {
    cache: Arc<SnapshotCache>,
    fleet: Arc<Fleet>,
}

/// A client with an open stream.
struct Sidecar {
    machine: Machine,
    watch: crate::cache::GroupSubscription,
    connection: Connection,
    open: Vec<Response>,
}

impl TestControlPlane {
    fn new(registered: &[&str]) -> Self {
        let cache = Arc::new(SnapshotCache::new());
        let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
        fleet.set_registered(registered.iter().map(|id| NodeId::from(*id)));
        Self { cache, fleet }
    }

    fn publish(&self, port: u32) -> Sequence {
        self.publish_to("group", port)
    }

    fn publish_to(&self, group: &str, port: u32) -> Sequence {
        let snapshot = Snapshot::builder().insert(assignment("a", port)).build();
        let snapshots = BTreeMap::from([(Group::new(group), snapshot.unwrap())]);
        self.cache.publish(snapshots)
    }

    /// Connects a client that subscribes to the endpoints of `a`.
    fn sidecar(&self, id: &str) -> Sidecar {
        self.sidecar_at(id, [127, 0, 0, 1])
    }

    fn sidecar_at(&self, id: &str, address: [u8; 4]) -> Sidecar {
        self.sidecar_with(id, address, None)
    }

    fn sidecar_with(&self, id: &str, address: [u8; 4], lease: Option<Lease>) -> Sidecar {
        let group = Group::new("group");
        let peer = Peer {
            address: (address, 1).into(),
            identity: None,
        };
        self.sidecar_over(id, self.fleet.connect(description(id), group, peer, lease))
    }

    fn sidecar_over(&self, id: &str, connection: Connection) -> Sidecar {
        let mut sidecar = Sidecar {
            machine: Machine::new(Transport::Delta, "server".into(), TERMS),
            watch: self.cache.subscribe(&Group::new("group"), &id.into()),
            connection,
            open: Vec::new(),
        };
        sidecar.request(Endpoints, Reply::default(), &["a".to_owned()]);
        sidecar
    }

    /// What there is to say without waiting.
    async fn now(&self, sequence: Sequence, policy: Policy) -> Convergence {
        self.fleet.converge(sequence, policy, ready(())).await
    }
}

impl Sidecar {
    fn request(&mut self, kind: ResourceType, reply: Reply, subscribe: &[String]) {
        self.see();
        let request = DeltaRequest {
            subscribe: subscribe.to_vec(),
            reply,
            ..DeltaRequest::default()
        };
        let now = Instant::now();
        self.machine.delta(kind, &request, now).unwrap();
        self.see();
    }

    /// The stream's task runs.
    fn see(&mut self) {
        if let Some(published) = self.watch.load() {
            self.machine.publish(published);
        }
        self.open.extend(self.machine.advance(Instant::now()));
        self.connection.report(&mut self.machine);
    }

    fn answer(&mut self, error: Option<&str>) {
        self.see();
        let response = self.open.pop().expect("something to answer");
        let reply = Reply {
            nonce: response.nonce.as_ref().to_owned(),
            error: error.map(Into::into),
        };
        self.request(response.kind, reply, &[]);
    }
}

impl Sidecar {
    /// The client accepts what it was sent, and the ledger has not heard of it.
    fn acknowledge(&mut self) {
        let response = self.open.pop().expect("something to answer");
        let reply = Reply {
            nonce: response.nonce.as_ref().to_owned(),
            error: None,
        };
        let request = DeltaRequest {
            reply,
            ..DeltaRequest::default()
        };
        let now = Instant::now();
        self.machine.delta(Endpoints, &request, now).unwrap();
        self.open.extend(self.machine.advance(now));
    }
}

fn description(id: &str) -> NodeDescription {
    NodeDescription {
        id: id.into(),
        cluster: String::new(),
        metadata: BTreeMap::new(),
        user_agent: String::new(),
        user_agent_version: String::new(),
        client_features: Vec::new(),
    }
}

fn soon() -> Sleep {
    sleep(Duration::from_secs(20))
}

fn outcomes(convergence: &Convergence) -> Vec<(&str, &'static str)> {
    let named = |outcome: &Outcome| match outcome {
        Outcome::Synced { .. } => "synced",
        Outcome::Nacked { .. } => "nacked",
        Outcome::Lagging => "lagging",
        Outcome::Absent => "absent",
    };
    let nodes = convergence.nodes.iter();
    nodes
        .map(|(id, outcome)| (id.as_str(), named(outcome)))
        .collect()
}

#[tokio::test]
async fn no_node_converges_on_an_unassigned_sequence() {
    let server = TestControlPlane::new(&["a"]);
    let sequence = server.publish(1);
    let mut a = server.sidecar("a");
    a.answer(None);
    assert!(server.now(sequence, Policy::AllRegistered).await.reached);
    let made_up = Sequence::from(sequence.get() + 1);
    for policy in [
        Policy::AllRegistered,
        Policy::AllConnected,
        Policy::Percent(100),
    ] {
        let convergence = server.now(made_up, policy).await;
        assert!(!convergence.reached);
        assert_eq!(convergence.nodes, [("a".into(), Outcome::Lagging)]);
    }
}

#[tokio::test]
async fn a_barrier_ends_with_the_last_acknowledgement() {
    let server = TestControlPlane::new(&["a", "b"]);
    let sequence = server.publish(1);
    let (mut a, mut b) = (server.sidecar("a"), server.sidecar("b"));
    a.answer(None);
    let barrier = server
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    let (convergence, ()) = tokio::join!(barrier, async { b.answer(None) });
    assert!(convergence.reached);
    assert_eq!(outcomes(&convergence), [("a", "synced"), ("b", "synced")]);
}

#[tokio::test]
async fn at_the_deadline_every_node_is_reported() {
    let server = TestControlPlane::new(&["a", "b", "c"]);
    let sequence = server.publish(1);
    let (mut a, _b) = (server.sidecar("a"), server.sidecar("b"));
    let mut stranger = server.sidecar("stranger");
    a.answer(None);
    stranger.answer(None);
    let convergence = server.now(sequence, Policy::AllRegistered).await;
    assert!(!convergence.reached);
    assert_eq!(
        outcomes(&convergence),
        [("a", "synced"), ("b", "lagging"), ("c", "absent")]
    );
    assert_eq!(convergence.others[0].0.as_str(), "stranger");
}

#[tokio::test]
async fn a_refusal_ends_a_barrier_that_needs_all_and_is_named_by_one_that_does_not() {
    let server = TestControlPlane::new(&["a", "b"]);
    let sequence = server.publish(1);
    let (mut a, mut b) = (server.sidecar("a"), server.sidecar("b"));
    let barrier = server
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    let (convergence, ()) = tokio::join!(barrier, async { a.answer(Some("malformed")) });
    assert!(!convergence.reached);
    assert_eq!(outcomes(&convergence), [("a", "nacked"), ("b", "lagging")]);
    let Outcome::Nacked {
        message, resources, ..
    } = &convergence.nodes[0].1
    else {
        panic!("{convergence:?}");
    };
    assert_eq!(
        (&**message, &resources[..]),
        ("malformed", &["a".into()][..])
    );

    let barrier = server
        .fleet
        .converge(sequence, Policy::AllConnected, soon());
    let (convergence, ()) = tokio::join!(barrier, async { b.answer(None) });
    assert!(convergence.reached);
}

#[tokio::test]
async fn a_percentage_is_rounded_up_and_given_up_when_it_cannot_be_reached() {
    let server = TestControlPlane::new(&["a", "b", "c"]);
    let sequence = server.publish(1);
    let mut sidecars = ["a", "b"].map(|id| server.sidecar(id));
    for sidecar in &mut sidecars {
        sidecar.answer(None);
    }
    assert!(server.now(sequence, Policy::Percent(66)).await.reached);
    assert!(!server.now(sequence, Policy::Percent(67)).await.reached);

    let sequence = server.publish(2);
    for sidecar in &mut sidecars {
        sidecar.answer(Some("no"));
    }
    let policy = Policy::Percent(66);
    let convergence = server.fleet.converge(sequence, policy, soon()).await;
    assert!(!convergence.reached);
}

#[tokio::test]
async fn all_connected_does_not_await_a_disconnected_node() {
    let server = TestControlPlane::new(&["a"]);
    let sequence = server.publish(1);
    let a = server.sidecar("a");
    let barrier = server
        .fleet
        .converge(sequence, Policy::AllConnected, soon());
    let (convergence, ()) = tokio::join!(barrier, async { drop(a) });
    assert!(convergence.reached);
    assert_eq!(outcomes(&convergence), [("a", "absent")]);
}

#[tokio::test]
async fn a_barrier_awaits_reconnecting_nodes_and_not_later_registrations() {
    let server = TestControlPlane::new(&["a"]);
    let sequence = server.publish(1);
    let barrier = server
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    let (convergence, ()) = tokio::join!(barrier, async {
        server
            .fleet
            .set_registered(["a", "later"].map(NodeId::from));
        server.sidecar("a").answer(None);
    });
    assert!(convergence.reached);
    assert_eq!(outcomes(&convergence), [("a", "synced")]);
}

#[tokio::test]
async fn a_node_converges_without_a_send_if_it_has_equal_content() {
    let server = TestControlPlane::new(&["a"]);
    server.publish(1);
    let mut a = server.sidecar("a");
    a.answer(None);
    let sequence = server.publish(1);
    assert!(!server.now(sequence, Policy::AllRegistered).await.reached);
    a.see();
    assert!(server.now(sequence, Policy::AllRegistered).await.reached);
}

#[tokio::test]
async fn a_publish_to_another_group_asks_nothing_of_a_node() {
    let server = TestControlPlane::new(&["a"]);
    server.publish(1);
    let mut a = server.sidecar("a");
    a.answer(None);
    let sequence = server.publish_to("other", 7);
    assert!(server.now(sequence, Policy::AllRegistered).await.reached);
}

#[tokio::test]
async fn an_acknowledgement_of_older_content_does_not_count() {
    let server = TestControlPlane::new(&["a"]);
    server.publish(1);
    let mut a = server.sidecar("a");
    let sequence = server.publish(2);
    a.answer(None);
    assert!(!server.now(sequence, Policy::AllRegistered).await.reached);
    a.answer(None);
    assert!(server.now(sequence, Policy::AllRegistered).await.reached);
}

#[tokio::test]
async fn two_streams_of_one_node_must_both_have_it() {
    let server = TestControlPlane::new(&["a"]);
    let sequence = server.publish(1);
    let (mut one, two) = (server.sidecar("a"), server.sidecar("a"));
    one.answer(None);
    assert!(!server.now(sequence, Policy::AllRegistered).await.reached);
    assert_eq!(server.fleet.status()[0].streams, 2);
    drop(two);
    assert!(server.now(sequence, Policy::AllRegistered).await.reached);
}

#[tokio::test]
async fn status_shows_the_registered_and_the_connected() {
    let server = TestControlPlane::new(&["a", "gone"]);
    let mut changes = server.fleet.watch();
    let sequence = server.publish(1);
    let mut a = server.sidecar("a");
    let _stranger = server.sidecar("b");
    a.answer(None);
    assert!(changes.has_changed().unwrap());
    changes.borrow_and_update();
    let status = server.fleet.status();
    let shown: Vec<_> = status
        .iter()
        .map(|node| {
            (
                node.id.as_str(),
                node.registered,
                node.connected(),
                node.synced,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("a", true, true, true),
            ("b", false, true, false),
            ("gone", true, false, false)
        ]
    );
    assert_eq!(status[0].synced_to, Some(sequence));
    assert!(status[0].last_ack().is_some());
    assert_eq!(status[1].types[0].state, TypeState::Stale);
}

#[tokio::test]
async fn ended_barriers_and_departed_nodes_are_removed() {
    let server = TestControlPlane::new(&["a"]);
    let sequence = server.publish(1);
    drop(server.sidecar("stranger"));
    server.now(sequence, Policy::AllRegistered).await;
    let barrier = server
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    drop(barrier);
    assert!(server.fleet.ledger().is_at_rest());
    assert_eq!(server.fleet.status().len(), 1);
}

/// A refusal that stands is no answer to what came later.
#[tokio::test]
async fn an_old_refusal_of_one_type_does_not_answer_for_another() {
    let server = TestControlPlane::new(&["n"]);
    let publish = |port| {
        let snapshot = Snapshot::builder()
            .insert(assignment("a", port))
            .insert(opaque(Route, "r", "bad"))
            .build();
        let snapshots = BTreeMap::from([(Group::new("group"), snapshot.unwrap())]);
        server.cache.publish(snapshots)
    };
    publish(1);
    let mut sidecar = server.sidecar("n");
    sidecar.answer(None);
    sidecar.request(Route, Reply::default(), &["r".to_owned()]);
    sidecar.answer(Some("malformed"));
    let flip = publish(2);
    sidecar.see();
    let waiting = server.now(flip, Policy::AllConnected).await;
    assert!(!waiting.reached, "the endpoints are on their way");
    sidecar.answer(None);
    let answered = server.now(flip, Policy::AllConnected).await;
    assert!(answered.reached);
    assert!(matches!(
        answered.nodes[0].1,
        Outcome::Nacked { kind: Route, .. }
    ));
}
