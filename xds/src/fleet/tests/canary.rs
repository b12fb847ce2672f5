//! Some nodes try a publish before all get it.

use super::*;

impl House {
    /// The clients of these registered nodes, which have the first content.
    fn served<const N: usize>(&self, ids: [&str; N]) -> [Sidecar; N] {
        self.publish(1);
        let mut sidecars = ids.map(|id| self.sidecar(id));
        for sidecar in &mut sidecars {
            sidecar.answer(None);
        }
        sidecars
    }

    fn snapshots(port: u32) -> BTreeMap<Group, Snapshot> {
        let snapshot = Snapshot::builder().insert(assignment("a", port)).build();
        BTreeMap::from([(Group::new("group"), snapshot.unwrap())])
    }

    async fn canary(&self, port: u32, canaries: &[&str], deadline: Instant) -> Canary {
        let canaries = canaries.iter().map(|id| NodeId::from(*id)).collect();
        let snapshots = Self::snapshots(port);
        self.fleet.stage(snapshots, canaries).decide(deadline).await
    }
}

impl Sidecar {
    /// The version of the content that is on its way, if any is.
    fn offered(&mut self) -> Option<String> {
        self.see();
        let response = self.open.last()?;
        Some(response.resources[0].version().to_string())
    }
}

fn version(port: u32) -> String {
    assignment("a", port).version().to_string()
}

#[tokio::test]
async fn what_a_canary_accepts_goes_to_all() {
    let house = House::new(&["a", "b"]);
    let [mut a, mut b] = house.served(["a", "b"]);
    let (canary, ()) = tokio::join!(house.canary(2, &["a"], soon()), async {
        assert_eq!(b.offered(), None, "the others wait");
        assert_eq!(a.offered(), Some(version(2)));
        assert!(!house.fleet.status()[0].synced);
        assert!(house.fleet.status()[1].synced);
        a.answer(None);
    });
    let Verdict::Promoted(sequence) = canary.verdict else {
        panic!("{canary:?}");
    };
    assert_eq!(a.offered(), None, "the canary has it");
    assert_eq!(b.offered(), Some(version(2)));
    b.answer(None);
    assert!(house.now(sequence, Policy::AllRegistered).await.reached);
}

#[tokio::test]
async fn what_a_canary_refuses_nobody_else_sees() {
    let house = House::new(&["a", "b"]);
    let [mut a, mut b] = house.served(["a", "b"]);
    let (canary, ()) = tokio::join!(house.canary(2, &["a"], soon()), async {
        a.answer(Some("malformed"));
    });
    assert!(matches!(canary.verdict, Verdict::Withdrawn(_)));
    let Outcome::Nacked { words, .. } = &canary.convergence.nodes[0].1 else {
        panic!("{canary:?}");
    };
    assert_eq!(&**words, "malformed");
    assert_eq!((a.offered(), b.offered()), (None, None));
    assert!(house.fleet.status().iter().all(|node| node.synced));
}

#[tokio::test]
async fn a_canary_that_accepted_gets_the_former_content_back_when_another_refuses() {
    let house = House::new(&["a", "b"]);
    let before = house.publish(1);
    let (mut a, mut b) = (house.sidecar("a"), house.sidecar("b"));
    a.answer(None);
    b.answer(None);
    let (canary, ()) = tokio::join!(house.canary(2, &["a", "b"], soon()), async {
        a.answer(None);
        b.answer(Some("malformed"));
    });
    let Verdict::Withdrawn(sequence) = canary.verdict else {
        panic!("{canary:?}");
    };
    assert!(!house.now(sequence, Policy::AllRegistered).await.reached);
    assert_eq!(a.offered(), Some(version(1)));
    a.answer(None);
    b.see();
    assert!(house.now(sequence, Policy::AllRegistered).await.reached);
    let status = house.fleet.status();
    assert!(status.iter().all(|node| node.synced));
    assert!(status[0].synced_to > Some(before));
}

#[tokio::test]
async fn a_second_trial_takes_nobody_back_to_an_older_sequence() {
    let house = House::new(&["a", "b"]);
    let [mut a, _b] = house.served(["a", "b"]);
    let snapshots = House::snapshots(2);
    let first = house.fleet.stage(snapshots, ["a".into()].into());
    a.answer(Some("malformed"));
    let tried = a.machine.newest();
    let _second = house.fleet.stage(House::snapshots(3), ["b".into()].into());
    a.see();
    assert!(a.machine.newest() > tried);
    assert_eq!(a.offered(), None, "it has the former content");
    let canary = first.decide(Instant::now()).await;
    assert_eq!(canary.verdict, Verdict::Superseded);
}

#[tokio::test]
async fn what_is_tried_by_a_group_that_had_nothing_is_taken_away_again() {
    let house = House::new(&["a", "b"]);
    let mut a = house.sidecar("a");
    let canaries = ["a".into(), "b".into()].into();
    let trial = house.fleet.stage(House::snapshots(2), canaries);
    assert_eq!(a.offered(), Some(version(2)));
    a.answer(None);
    let canary = trial.decide(Instant::now()).await;
    let Verdict::Withdrawn(sequence) = canary.verdict else {
        panic!("{canary:?}");
    };
    a.see();
    assert_eq!(&*a.open.last().unwrap().removed, ["a".into()]);
    let nodes = house.now(sequence, Policy::AllConnected).await.nodes;
    assert_eq!(nodes[0].1, Outcome::Lagging);
    a.answer(None);
    assert!(house.now(sequence, Policy::AllConnected).await.reached);
    assert!(house.cache.snapshot(&Group::new("group")).is_none());
    house.publish(3);
    assert_eq!(a.offered(), Some(version(3)));
}

#[tokio::test]
async fn silence_and_absence_end_at_the_deadline() {
    let house = House::new(&["a", "b"]);
    let _a = house.served(["a"]);
    let canary = house.canary(2, &["a", "b"], Instant::now()).await;
    assert!(matches!(canary.verdict, Verdict::Withdrawn(_)));
    let outcomes = outcomes(&canary.convergence);
    assert_eq!(outcomes, [("a", "lagging"), ("b", "absent")]);
}

#[tokio::test]
async fn a_canary_that_is_given_up_is_withdrawn() {
    let house = House::new(&["a"]);
    let [mut a] = house.served(["a"]);
    {
        let canary = house.canary(2, &["a"], soon());
        let mut canary = std::pin::pin!(canary);
        assert!(futures_util::poll!(canary.as_mut()).is_pending());
        assert_eq!(a.offered(), Some(version(2)));
    }
    a.answer(None);
    assert_eq!(a.offered(), Some(version(1)));
    assert!(house.fleet.ledger().barriers_are_gone());
}

#[tokio::test]
async fn a_publish_meanwhile_is_for_everybody() {
    let house = House::new(&["a", "b"]);
    let [mut a, mut b] = house.served(["a", "b"]);
    let (canary, ()) = tokio::join!(house.canary(2, &["a"], soon()), async {
        house.publish(3);
        a.answer(None);
    });
    assert_eq!(canary.verdict, Verdict::Superseded);
    assert_eq!((a.offered(), b.offered()), (None, Some(version(3))));
}

#[tokio::test]
async fn a_newcomer_is_a_canary_too_if_it_is_named() {
    let house = House::new(&["a"]);
    house.publish(1);
    let (canary, ()) = tokio::join!(house.canary(2, &["a"], soon()), async {
        assert_eq!(house.sidecar("b").offered(), Some(version(1)));
        let mut a = house.sidecar("a");
        assert_eq!(a.offered(), Some(version(2)));
        a.answer(None);
        // Who goes after it has accepted, has accepted.
    });
    assert!(matches!(canary.verdict, Verdict::Promoted(_)));
}

#[tokio::test]
async fn without_canaries_all_get_it_at_once() {
    let house = House::new(&["a"]);
    house.publish(1);
    let canary = house.canary(2, &[], soon()).await;
    assert!(matches!(canary.verdict, Verdict::Promoted(_)));
    assert_eq!(house.sidecar("a").offered(), Some(version(2)));
}
