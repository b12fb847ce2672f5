//! Some nodes try a publish before all get it.

use super::*;

impl TestControlPlane {
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

    async fn canary(
        &self,
        port: u32,
        canaries: &[&str],
        deadline: impl Future<Output = ()>,
    ) -> CanaryResult {
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
async fn a_trial_is_promoted_when_its_canaries_acknowledge() {
    let server = TestControlPlane::new(&["a", "b"]);
    let [mut a, mut b] = server.served(["a", "b"]);
    let (canary, ()) = tokio::join!(server.canary(2, &["a"], soon()), async {
        assert_eq!(b.offered(), None, "the others wait");
        assert_eq!(a.offered(), Some(version(2)));
        assert!(!server.fleet.status()[0].synced);
        assert!(server.fleet.status()[1].synced);
        a.answer(None);
    });
    let CanaryDecision::Promoted(sequence) = canary.decision else {
        panic!("{canary:?}");
    };
    assert_eq!(a.offered(), None, "the canary has it");
    assert_eq!(b.offered(), Some(version(2)));
    b.answer(None);
    assert!(server.now(sequence, Policy::AllRegistered).await.reached);
}

#[tokio::test]
async fn a_trial_is_withdrawn_when_a_canary_nacks() {
    let server = TestControlPlane::new(&["a", "b"]);
    let [mut a, mut b] = server.served(["a", "b"]);
    let (canary, ()) = tokio::join!(server.canary(2, &["a"], soon()), async {
        a.answer(Some("malformed"));
    });
    assert!(matches!(canary.decision, CanaryDecision::Withdrawn(_)));
    let Outcome::Nacked { message, .. } = &canary.convergence.nodes[0].1 else {
        panic!("{canary:?}");
    };
    assert_eq!(&**message, "malformed");
    assert_eq!((a.offered(), b.offered()), (None, None));
    assert!(server.fleet.status().iter().all(|node| node.synced));
}

#[tokio::test]
async fn a_canary_that_accepted_gets_the_former_content_back_when_another_refuses() {
    let server = TestControlPlane::new(&["a", "b"]);
    let before = server.publish(1);
    let (mut a, mut b) = (server.sidecar("a"), server.sidecar("b"));
    a.answer(None);
    b.answer(None);
    let (canary, ()) = tokio::join!(server.canary(2, &["a", "b"], soon()), async {
        a.answer(None);
        b.answer(Some("malformed"));
    });
    let CanaryDecision::Withdrawn(sequence) = canary.decision else {
        panic!("{canary:?}");
    };
    assert!(!server.now(sequence, Policy::AllRegistered).await.reached);
    assert_eq!(a.offered(), Some(version(1)));
    a.answer(None);
    b.see();
    assert!(server.now(sequence, Policy::AllRegistered).await.reached);
    let status = server.fleet.status();
    assert!(status.iter().all(|node| node.synced));
    assert!(status[0].synced_to > Some(before));
}

#[tokio::test]
async fn a_second_trial_withdraws_the_first_under_a_newer_sequence() {
    let server = TestControlPlane::new(&["a", "b"]);
    let [mut a, _b] = server.served(["a", "b"]);
    let snapshots = TestControlPlane::snapshots(2);
    let first = server.fleet.stage(snapshots, ["a".into()].into());
    a.answer(Some("malformed"));
    let tried = a.machine.newest();
    let _second = server
        .fleet
        .stage(TestControlPlane::snapshots(3), ["b".into()].into());
    a.see();
    assert!(a.machine.newest() > tried);
    assert_eq!(a.offered(), None, "it has the former content");
    let canary = first.decide(ready(())).await;
    assert_eq!(canary.decision, CanaryDecision::Superseded);
}

#[tokio::test]
async fn a_withdrawn_trial_of_an_empty_group_leaves_an_empty_snapshot() {
    let server = TestControlPlane::new(&["a", "b"]);
    let mut a = server.sidecar("a");
    let canaries = ["a".into(), "b".into()].into();
    let trial = server.fleet.stage(TestControlPlane::snapshots(2), canaries);
    assert_eq!(a.offered(), Some(version(2)));
    a.answer(None);
    let canary = trial.decide(ready(())).await;
    let CanaryDecision::Withdrawn(sequence) = canary.decision else {
        panic!("{canary:?}");
    };
    a.see();
    assert_eq!(&*a.open.last().unwrap().removed, ["a".into()]);
    let nodes = server.now(sequence, Policy::AllConnected).await.nodes;
    assert_eq!(nodes[0].1, Outcome::Lagging);
    a.answer(None);
    assert!(server.now(sequence, Policy::AllConnected).await.reached);
    assert!(server.cache.snapshot(&Group::new("group")).is_none());
    server.publish(3);
    assert_eq!(a.offered(), Some(version(3)));
}

#[tokio::test]
async fn silence_and_absence_end_at_the_deadline() {
    let server = TestControlPlane::new(&["a", "b"]);
    let _a = server.served(["a"]);
    let canary = server.canary(2, &["a", "b"], ready(())).await;
    assert!(matches!(canary.decision, CanaryDecision::Withdrawn(_)));
    let outcomes = outcomes(&canary.convergence);
    assert_eq!(outcomes, [("a", "lagging"), ("b", "absent")]);
}

#[tokio::test]
async fn a_dropped_canary_trial_is_withdrawn() {
    let server = TestControlPlane::new(&["a"]);
    let [mut a] = server.served(["a"]);
    {
        let canary = server.canary(2, &["a"], soon());
        let mut canary = std::pin::pin!(canary);
        assert!(futures_util::poll!(canary.as_mut()).is_pending());
        assert_eq!(a.offered(), Some(version(2)));
    }
    a.answer(None);
    assert_eq!(a.offered(), Some(version(1)));
    assert!(server.fleet.ledger().barriers_are_gone());
}

#[tokio::test]
async fn a_publish_during_a_trial_goes_to_all_nodes() {
    let server = TestControlPlane::new(&["a", "b"]);
    let [mut a, mut b] = server.served(["a", "b"]);
    let (canary, ()) = tokio::join!(server.canary(2, &["a"], soon()), async {
        server.publish(3);
        a.answer(None);
    });
    assert_eq!(canary.decision, CanaryDecision::Superseded);
    assert_eq!((a.offered(), b.offered()), (None, Some(version(3))));
}

#[tokio::test]
async fn a_canary_that_connects_during_the_trial_gets_the_staged_snapshot() {
    let server = TestControlPlane::new(&["a"]);
    server.publish(1);
    let (canary, ()) = tokio::join!(server.canary(2, &["a"], soon()), async {
        assert_eq!(server.sidecar("b").offered(), Some(version(1)));
        let mut a = server.sidecar("a");
        assert_eq!(a.offered(), Some(version(2)));
        a.answer(None);
        // A node that accepts and then disconnects counts as accepted.
    });
    assert!(matches!(canary.decision, CanaryDecision::Promoted(_)));
}

#[tokio::test]
async fn a_trial_without_canaries_is_promoted_immediately() {
    let server = TestControlPlane::new(&["a"]);
    server.publish(1);
    let canary = server.canary(2, &[], soon()).await;
    assert!(matches!(canary.decision, CanaryDecision::Promoted(_)));
    assert_eq!(server.sidecar("a").offered(), Some(version(2)));
}
