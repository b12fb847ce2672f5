//! Clients that are served and not counted.

use super::*;

impl TestControlPlane {
    /// Connects an observer of `id`.
    fn observer(&self, id: &str) -> Sidecar {
        let (group, peer) = (Group::new("group"), local());
        self.sidecar_over(id, self.fleet.observe(description(id), group, peer))
    }
}

fn local() -> Peer {
    Peer {
        address: ([127, 0, 0, 1], 1).into(),
        identity: None,
    }
}

#[tokio::test]
async fn an_observer_is_sent_what_the_node_is_sent_and_stands_for_it_nowhere() {
    let server = TestControlPlane::new(&["a"]);
    let sequence = server.publish(1);
    let mut observer = server.observer("a");
    assert_eq!(observer.open.len(), 1);
    observer.answer(None);
    // It has acknowledged everything, and the node is not there.
    let waiting = server.now(sequence, Policy::AllRegistered).await;
    assert_eq!(outcomes(&waiting), [("a", "absent")]);
    let status = server.fleet.status();
    assert!(!status[0].connected() && status[0].about.is_none());
    // One that refuses, or does not answer, is in nobody's way.
    let mut sidecar = server.sidecar("a");
    sidecar.answer(None);
    let sequence = server.publish(2);
    observer.answer(Some("never"));
    sidecar.answer(None);
    let reached = server.now(sequence, Policy::AllRegistered).await;
    assert!(reached.reached, "{reached:?}");
    assert!(!observer.connection.must_reconnect());
    assert_eq!(server.fleet.status()[0].streams, 1);
}

#[tokio::test]
async fn an_observer_of_a_node_that_nobody_registered_is_no_node() {
    let server = TestControlPlane::new(&[]);
    let sequence = server.publish(1);
    let observer = server.observer("stray");
    assert!(server.fleet.status().is_empty());
    assert!(server.fleet.record(&"stray".into()).is_none());
    let found = server.now(sequence, Policy::AllConnected).await;
    assert!(found.reached && outcomes(&found).is_empty(), "{found:?}");
    drop(observer);
    assert!(server.fleet.ledger().is_at_rest());
}

#[test]
fn observers_are_listed_while_they_are_there() {
    let server = TestControlPlane::new(&[]);
    let (b, a) = (server.observer("b"), server.observer("a"));
    let listed = || {
        let observers = server.fleet.observers();
        let nodes = observers.iter().map(|one| one.node.to_string());
        nodes.collect::<Vec<_>>()
    };
    assert_eq!(listed(), ["a", "b"]);
    drop(a);
    assert_eq!(listed(), ["b"]);
    drop(b);
    assert!(listed().is_empty());
}

#[test]
fn of_an_observer_it_is_known_when_it_last_asked_and_its_version() {
    let server = TestControlPlane::new(&[]);
    let described = NodeDescription {
        user_agent_version: "1.2.3".to_owned(),
        ..description("a")
    };
    let connection = server
        .fleet
        .observe(described, Group::new("group"), local());
    let [before] = server.fleet.observers().try_into().unwrap();
    assert_eq!(
        (before.version.as_str(), before.heard),
        ("1.2.3", before.since)
    );
    let later = before.since + Duration::from_secs(7);
    connection.heard(later);
    let [after] = server.fleet.observers().try_into().unwrap();
    assert_eq!((after.heard, after.since), (later, before.since));
}

#[test]
fn an_observer_is_dismissed_together_with_its_node() {
    let server = TestControlPlane::new(&[]);
    server.publish(1);
    let observer = server.observer("a");
    assert!(!observer.watch.is_dismissed());
    server.cache.dismiss(&Group::new("group"), &"a".into());
    assert!(observer.watch.is_dismissed());
}
