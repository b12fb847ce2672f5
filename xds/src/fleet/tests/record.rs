//! What stays of a node.

use super::*;

impl House {
    fn record(&self, id: &str) -> Option<NodeRecord> {
        self.fleet.record(&id.into())
    }
}

#[tokio::test]
async fn what_was_sent_and_answered_outlives_the_stream() {
    let house = House::new(&["a"]);
    let first = house.publish(1);
    let mut a = house.sidecar("a");
    a.answer(None);
    let second = house.publish(2);
    a.answer(Some("no room"));
    drop(a);
    let record = house.record("a").unwrap();
    assert!(record.status.gone.is_some());
    let [delivery] = &record.deliveries[..] else {
        panic!("{record:?}");
    };
    assert_eq!(delivery.kind, Endpoints);
    assert_eq!(delivery.sent.as_ref().unwrap().sequence, second);
    let acknowledged = delivery.acknowledged.as_ref().unwrap();
    assert_eq!(acknowledged.sequence, first);
    let refused = delivery.refused.as_ref().unwrap();
    assert_eq!((&*refused.words, refused.sequence), ("no room", second));
    assert_eq!(&refused.resources[..], &["a".into()]);

    // What the next stream has not been sent yet does not hide what the last one was.
    let mut again = house.sidecar("a");
    assert_eq!(house.record("a").unwrap().refusals.len(), 1);
    again.answer(None);
    let record = house.record("a").unwrap();
    let acknowledged = record.deliveries[0].acknowledged.as_ref().unwrap();
    assert_eq!(acknowledged.sequence, second);
    assert!(record.deliveries[0].refused.is_some());
    assert!(record.status.gone.is_none());
}

#[tokio::test]
async fn refusals_are_counted_all_and_kept_some() {
    let house = House::new(&["a"]);
    house.publish(1);
    let mut a = house.sidecar("a");
    for port in 2..12 {
        a.answer(Some(&format!("no {port}")));
        house.publish(port);
    }
    let record = house.record("a").unwrap();
    assert_eq!(record.status.refusals, 10);
    assert_eq!(record.refusals.len(), NodeRecord::MAX_REFUSALS);
    assert_eq!(&*record.refusals.last().unwrap().words, "no 11");
    assert_eq!(&*record.refusals[0].words, "no 4");
}

#[tokio::test]
async fn two_streams_of_one_id_from_two_addresses_are_a_clone() {
    let house = House::new(&["a"]);
    let one = house.sidecar_at("a", [10, 0, 0, 1]);
    let _again = house.sidecar_at("a", [10, 0, 0, 1]);
    assert!(!house.fleet.status()[0].is_cloned());
    let _other = house.sidecar_at("a", [10, 0, 0, 2]);
    let status = &house.fleet.status()[0];
    assert!(status.is_cloned());
    let from: Vec<_> = status.peers.iter().map(|peer| peer.address.ip()).collect();
    let from: Vec<_> = from.iter().map(ToString::to_string).collect();
    assert_eq!(from, ["10.0.0.1", "10.0.0.1", "10.0.0.2"]);
    drop(one);
    assert!(house.fleet.status()[0].is_cloned());
}

#[tokio::test]
async fn a_node_that_is_retired_and_stays_says_since_when() {
    let house = House::new(&["a", "b"]);
    let _a = house.sidecar("a");
    house.fleet.set_registered(["b".into()]);
    let status = house.fleet.status();
    assert!(!status[0].registered && status[0].retired.is_some());
    house.fleet.set_registered(["a".into(), "b".into()]);
    assert!(house.fleet.status()[0].retired.is_none());
}

#[tokio::test]
async fn strangers_are_forgotten_in_time_and_registered_nodes_are_not() {
    let house = House::new(&["a"]);
    drop(house.sidecar("a"));
    drop(house.sidecar("stranger"));
    drop(house.sidecar("returning"));
    let went = Instant::now();
    let forget = |minutes: u64| {
        let now = went + Duration::from_secs(60 * minutes);
        house.fleet.ledger().forget_strangers(now);
    };
    forget(59);
    assert!(house.record("stranger").is_some());
    assert_eq!(house.fleet.status().len(), 1, "who went is not shown");
    let returning = house.sidecar("returning");
    forget(61);
    assert!(house.record("stranger").is_none());
    assert!(house.record("returning").is_some());
    assert!(house.record("a").is_some());
    drop(returning);
    assert!(house.record("returning").is_some());
}

#[tokio::test]
async fn made_up_names_cost_a_bounded_amount() {
    let house = House::new(&[]);
    for at in 0..1100 {
        drop(house.sidecar(&format!("made-up-{at}")));
    }
    assert!(house.record("made-up-0").is_none());
    assert!(house.record("made-up-1099").is_some());
}

#[tokio::test]
async fn a_node_that_is_forgotten_is_not_taken_for_another_by_a_barrier() {
    let house = House::new(&["a", "b"]);
    let sequence = house.publish(1);
    drop(house.sidecar("a"));
    let barrier = house
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    let (convergence, ()) = tokio::join!(barrier, async {
        house.fleet.set_registered(["b".into()]);
        for at in 0..1100 {
            drop(house.sidecar(&format!("made-up-{at}")));
        }
        house.sidecar("new").answer(None);
        house.sidecar("b").answer(None);
        house.sidecar("a").answer(None);
    });
    assert!(convergence.reached);
    assert_eq!(outcomes(&convergence), [("a", "synced"), ("b", "synced")]);
    assert!(house.record("a").is_some());
}
