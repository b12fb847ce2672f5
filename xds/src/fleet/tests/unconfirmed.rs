//! What a client may have of a stream that ended, and the stream that comes after it.

use super::*;
use crate::{cache::GroupSubscription, resource::ResourceType::Listener};

struct Open {
    connection: Connection,
    machine: Machine,
    watch: GroupSubscription,
}

impl TestControlPlane {
    fn offer(&self, listeners: &[String]) -> Sequence {
        let listeners = listeners.iter().map(|name| opaque(Listener, name, "1"));
        let snapshot = Snapshot::builder().extend(listeners).build().unwrap();
        let snapshots = BTreeMap::from([(Group::new("group"), snapshot)]);
        self.cache.publish(snapshots)
    }

    fn open(&self) -> Open {
        let group = Group::new("group");
        let peer = Peer {
            address: ([127, 0, 0, 1], 1).into(),
            identity: None,
        };
        let mut watch = self.cache.subscribe(&group, &"n".into());
        let mut connection = self.fleet.connect(description("n"), group, peer, None);
        let mut machine = Machine::new(Transport::Delta, "server".into(), TERMS);
        machine.set_unconfirmed(connection.take_unconfirmed());
        machine.publish(watch.load().unwrap());
        Open {
            connection,
            machine,
            watch,
        }
    }

    async fn is_reached(&self, sequence: Sequence) -> bool {
        self.now(sequence, Policy::AllRegistered).await.reached
    }
}

impl Open {
    /// Listeners, all of them; what the client has is said with the first request.
    fn send(
        &mut self,
        nonce: &str,
        error: Option<&str>,
        has: &[(String, String)],
    ) -> Vec<Response> {
        let request = DeltaRequest {
            reply: Reply {
                nonce: nonce.to_owned(),
                error: error.map(Into::into),
            },
            initial_versions: has.iter().cloned().collect(),
            ..DeltaRequest::default()
        };
        let now = Instant::now();
        self.machine.delta(Listener, &request, now).unwrap();
        self.advance()
    }

    fn advance(&mut self) -> Vec<Response> {
        let responses = self.machine.advance(Instant::now());
        self.connection.report(&mut self.machine);
        responses
    }

    fn close(mut self) {
        self.connection.keep_unconfirmed(&self.machine);
    }
}

fn names(count: usize) -> Vec<String> {
    let many = (0..count).map(|number| format!("new-{number:04}"));
    many.chain(["old".to_owned()]).collect()
}

/// The client has `old`, takes some of so many new ones and refuses their response.
fn refused(server: &TestControlPlane, count: usize) -> (Open, (String, String)) {
    server.offer(&names(0));
    let mut open = server.open();
    let first = open.send("", None, &[]).remove(0);
    let version = first.resources[0].version().to_string();
    assert!(open.send(&first.nonce, None, &[]).is_empty());
    server.offer(&names(count));
    open.machine.publish(open.watch.load().unwrap());
    let refused = open.advance().remove(0);
    assert_eq!(refused.resources.len(), count);
    assert_eq!(open.send(&refused.nonce, Some("bad"), &[]).len(), 1);
    (open, ("old".to_owned(), version))
}

#[tokio::test]
async fn unconfirmed_resources_are_removed_after_a_reconnect() {
    for count in [2, 300] {
        let server = TestControlPlane::new(&["n"]);
        let (former, old) = refused(&server, count);
        former.close();
        let undone = server.offer(&names(0));
        let mut back = server.open();
        let removal = back.send("", None, &[old]).remove(0);
        assert_eq!(removal.removed.len(), count);
        assert!(!server.is_reached(undone).await);
        assert!(back.send(&removal.nonce, None, &[]).is_empty());
        assert!(server.is_reached(undone).await);
    }
}

/// The server finds out late that the former connection is gone.
#[tokio::test]
async fn a_stream_that_began_beside_a_dead_one_must_reconnect_when_that_ends() {
    let server = TestControlPlane::new(&["n"]);
    let (former, old) = refused(&server, 2);
    let undone = server.offer(&names(0));
    let mut early = server.open();
    let sent = early.send("", None, std::slice::from_ref(&old)).remove(0);
    assert!(sent.removed.is_empty());
    assert!(!server.is_reached(undone).await);
    former.close();
    assert!(early.connection.must_reconnect());
    // What crosses that says nothing.
    assert!(early.send(&sent.nonce, None, &[]).is_empty());
    assert!(!server.is_reached(undone).await);
    early.close();
    let mut back = server.open();
    let removal = back.send("", None, &[old]).remove(0);
    assert_eq!(removal.removed.len(), 2);
    assert!(back.send(&removal.nonce, None, &[]).is_empty());
    assert!(!back.connection.must_reconnect());
    assert!(server.is_reached(undone).await);
}

#[tokio::test]
async fn a_stream_that_began_before_the_others_responses_need_not_reconnect() {
    let server = TestControlPlane::new(&["n"]);
    server.offer(&names(0));
    let first = server.open();
    let mut second = server.open();
    assert_eq!(second.send("", None, &[]).len(), 1);
    second.close();
    assert!(!first.connection.must_reconnect());
}
