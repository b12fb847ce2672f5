//! What stays of a node.

use super::*;

impl TestControlPlane {
    fn record(&self, id: &str) -> Option<NodeRecord> {
        self.fleet.record(&id.into())
    }
}

#[tokio::test]
async fn what_was_sent_and_answered_outlives_the_stream() {
    let server = TestControlPlane::new(&["a"]);
    let first = server.publish(1);
    let mut a = server.sidecar("a");
    a.answer(None);
    let second = server.publish(2);
    a.answer(Some("no room"));
    drop(a);
    let record = server.record("a").unwrap();
    assert!(record.status.gone.is_some());
    let [delivery] = &record.deliveries[..] else {
        panic!("{record:?}");
    };
    assert_eq!(delivery.kind, Endpoints);
    assert_eq!(delivery.sent.as_ref().unwrap().sequence, second);
    let acknowledged = delivery.acknowledged.as_ref().unwrap();
    assert_eq!(acknowledged.sequence, first);
    let refused = delivery.nacked.as_ref().unwrap();
    assert_eq!((&*refused.message, refused.sequence), ("no room", second));
    assert_eq!(&refused.resources[..], &["a".into()]);

    // A new stream does not hide what the last one was sent.
    let mut again = server.sidecar("a");
    assert_eq!(server.record("a").unwrap().nacks.len(), 1);
    again.answer(None);
    let record = server.record("a").unwrap();
    let acknowledged = record.deliveries[0].acknowledged.as_ref().unwrap();
    assert_eq!(acknowledged.sequence, second);
    assert!(record.deliveries[0].nacked.is_some());
    assert!(record.status.gone.is_none());
}

#[tokio::test]
async fn all_nacks_are_counted_and_the_last_ones_kept() {
    let server = TestControlPlane::new(&["a"]);
    server.publish(1);
    let mut a = server.sidecar("a");
    for port in 2..12 {
        a.answer(Some(&format!("no {port}")));
        server.publish(port);
    }
    let record = server.record("a").unwrap();
    assert_eq!(record.status.nacks, 10);
    assert_eq!(record.nacks.len(), NodeRecord::MAX_NACKS);
    assert_eq!(&*record.nacks.last().unwrap().message, "no 11");
    assert_eq!(&*record.nacks[0].message, "no 4");
}

#[tokio::test]
async fn two_streams_of_one_id_from_two_addresses_are_a_clone() {
    let server = TestControlPlane::new(&["a"]);
    let one = server.sidecar_at("a", [10, 0, 0, 1]);
    let _again = server.sidecar_at("a", [10, 0, 0, 1]);
    assert!(!server.fleet.status()[0].is_cloned());
    let _other = server.sidecar_at("a", [10, 0, 0, 2]);
    let status = &server.fleet.status()[0];
    assert!(status.is_cloned());
    let from: Vec<_> = status.peers.iter().map(|peer| peer.address.ip()).collect();
    let from: Vec<_> = from.iter().map(ToString::to_string).collect();
    assert_eq!(from, ["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
    drop(one);
    assert!(server.fleet.status()[0].is_cloned());
}

#[tokio::test]
async fn a_node_that_is_retired_and_stays_says_since_when() {
    let server = TestControlPlane::new(&["a", "b"]);
    let _a = server.sidecar("a");
    server.fleet.set_registered(["b".into()]);
    let status = server.fleet.status();
    assert!(!status[0].registered && status[0].retired.is_some());
    server.fleet.set_registered(["a".into(), "b".into()]);
    assert!(server.fleet.status()[0].retired.is_none());
}

#[tokio::test]
async fn departed_nodes_are_removed_after_a_time_and_registered_nodes_are_not() {
    let server = TestControlPlane::new(&["a"]);
    drop(server.sidecar("a"));
    drop(server.sidecar("stranger"));
    drop(server.sidecar("returning"));
    let went = Instant::now();
    let forget = |minutes: u64| {
        let now = went + Duration::from_secs(60 * minutes);
        server.fleet.ledger().remove_departed(now);
    };
    forget(59);
    assert!(server.record("stranger").is_some());
    assert_eq!(server.fleet.status().len(), 1, "who went is not shown");
    let returning = server.sidecar("returning");
    forget(61);
    assert!(server.record("stranger").is_none());
    assert!(server.record("returning").is_some());
    assert!(server.record("a").is_some());
    drop(returning);
    assert!(server.record("returning").is_some());
}

#[tokio::test]
async fn made_up_names_cost_a_bounded_amount() {
    let server = TestControlPlane::new(&[]);
    for at in 0..1100 {
        drop(server.sidecar(&format!("made-up-{at}")));
    }
    assert!(server.record("made-up-0").is_none());
    assert!(server.record("made-up-1099").is_some());
}

#[tokio::test]
async fn a_node_that_is_forgotten_is_not_taken_for_another_by_a_barrier() {
    let server = TestControlPlane::new(&["a", "b"]);
    let sequence = server.publish(1);
    drop(server.sidecar("a"));
    let barrier = server
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    let (convergence, ()) = tokio::join!(barrier, async {
        server.fleet.set_registered(["b".into()]);
        for at in 0..1100 {
            drop(server.sidecar(&format!("made-up-{at}")));
        }
        server.sidecar("new").answer(None);
        server.sidecar("b").answer(None);
        server.sidecar("a").answer(None);
    });
    assert!(convergence.reached);
    assert_eq!(outcomes(&convergence), [("a", "synced"), ("b", "synced")]);
    assert!(server.record("a").is_some());
}
