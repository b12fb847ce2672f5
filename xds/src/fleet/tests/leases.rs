use super::*;
use crate::lease::Absence;

/// Long enough to be seen, and short enough to be waited for.
const CLOSED: Duration = Duration::from_millis(60);

fn terms() -> Lease {
    Lease {
        cohort: "web".into(),
        closed: CLOSED,
        silent: Duration::from_secs(60),
        restored: Duration::from_secs(60),
    }
}

impl TestControlPlane {
    /// Connects a client that nobody registered, with a lease.
    fn member(&self, id: &str) -> Sidecar {
        self.sidecar_with(id, [127, 0, 0, 1], Some(terms()))
    }

    fn lease(&self, id: &str) -> Option<LeaseStatus> {
        let status = self.fleet.status();
        let node = status.iter().find(|node| node.id == id.into())?;
        node.lease
    }
}

#[tokio::test]
async fn a_node_with_a_lease_is_awaited_without_being_registered() {
    let server = TestControlPlane::new(&[]);
    let sequence = server.publish(1);
    let mut member = server.member("m");
    assert_eq!(server.lease("m").unwrap().ends, None);
    let waiting = server.now(sequence, Policy::AllRegistered).await;
    assert!(!waiting.reached);
    assert_eq!(outcomes(&waiting), [("m", "lagging")]);
    member.answer(None);
    let reached = server.now(sequence, Policy::AllRegistered).await;
    assert!(reached.reached, "{reached:?}");
    assert_eq!(outcomes(&reached), [("m", "synced")]);
}

#[tokio::test]
async fn a_barrier_awaits_those_that_were_there_when_it_began() {
    let server = TestControlPlane::new(&[]);
    let sequence = server.publish(1);
    let mut member = server.member("m");
    let waiting = server
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    let joining = async {
        let newcomer = server.member("newcomer");
        member.answer(None);
        newcomer
    };
    let (found, newcomer) = tokio::join!(biased; waiting, joining);
    assert!(found.reached, "{found:?}");
    assert_eq!(outcomes(&found), [("m", "synced")]);
    let others: Vec<_> = found.others.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(others, ["newcomer"]);
    drop(newcomer);
}

#[tokio::test]
async fn a_barrier_goes_on_without_a_node_whose_lease_has_ended() {
    let server = TestControlPlane::new(&[]);
    let sequence = server.publish(1);
    let (member, mut stays) = (server.member("m"), server.member("stays"));
    stays.answer(None);
    let began = Instant::now();
    let waiting = server
        .fleet
        .converge(sequence, Policy::AllRegistered, soon());
    let (found, ()) = tokio::join!(biased; waiting, async { drop(member) });
    assert!(found.reached, "{found:?}");
    assert!(began.elapsed() >= CLOSED);
    assert_eq!(found.left, [NodeId::from("m")]);
    assert_eq!(outcomes(&found), [("stays", "synced")]);
    assert_eq!(server.lease("m"), None);
    let next = server.now(sequence, Policy::AllRegistered).await;
    assert!(next.reached && next.left.is_empty(), "{next:?}");
}

#[tokio::test]
async fn a_node_that_has_gone_silent_is_awaited_until_its_longer_lease_ends() {
    let server = TestControlPlane::new(&[]);
    let sequence = server.publish(1);
    let mut member = server.member("m");
    member.connection.lost();
    drop(member);
    let deadline = Instant::now() + 3 * CLOSED;
    let found = server
        .fleet
        .converge(sequence, Policy::AllRegistered, sleep_until(deadline));
    let found = found.await;
    assert!(!found.reached);
    assert_eq!(outcomes(&found), [("m", "absent")]);
    let lease = server.lease("m").unwrap();
    assert!(
        lease.absence == Some(Absence::Silent) && lease.ends > Some(deadline),
        "{lease:?}"
    );
}

#[tokio::test]
async fn a_node_that_comes_back_holds_its_lease_again() {
    let server = TestControlPlane::new(&[]);
    let sequence = server.publish(1);
    drop(server.member("m"));
    let mut again = server.member("m");
    again.answer(None);
    sleep(2 * CLOSED).await;
    assert_eq!(server.lease("m").unwrap().ends, None);
    let found = server.now(sequence, Policy::AllRegistered).await;
    assert_eq!(outcomes(&found), [("m", "synced")]);
}

#[tokio::test]
async fn a_node_of_a_former_process_is_expected_and_can_be_given_up() {
    let server = TestControlPlane::new(&[]);
    let sequence = server.publish(1);
    server.fleet.expect("m".into(), terms());
    let found = server.now(sequence, Policy::AllRegistered).await;
    assert_eq!(outcomes(&found), [("m", "absent")]);
    server.fleet.withdraw_lease(&"m".into());
    let found = server.now(sequence, Policy::AllRegistered).await;
    assert!(found.reached, "{found:?}");
    assert_eq!(server.lease("m"), None);
}
