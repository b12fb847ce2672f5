//! Members of sidecar groups.

use pointsman_catalog::{GroupMember, GroupName, SidecarGroup, Silence};
use pointsman_xds::{Admission, Identity};

use super::*;

impl TestCatalog {
    /// Declares group `web` for `/web/*`, which may see orders.
    async fn group(&self, listen: Option<IpAddr>) {
        let group = SidecarGroup {
            name: GroupName::new("web").unwrap(),
            pattern: "spiffe://example.org/web/*".parse().unwrap(),
            databases: Some([orders()].into()),
            listen,
            declared_at: UnixMillis(0),
        };
        self.catalog.add_group(group).await.unwrap();
    }
}

fn proven(path: &str) -> Peer {
    Peer {
        address: "192.0.2.1:1".parse().unwrap(),
        identity: Some(Identity::new(&format!("spiffe://example.org{path}")).unwrap()),
    }
}

async fn admit(
    running: &Running,
    claimed: &str,
    listen: Option<&str>,
    path: &str,
) -> Result<Admission, String> {
    let directory = running.directory(true);
    let admitted = directory.admit(&node(claimed, listen), &proven(path)).await;
    admitted.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_member_is_served_what_its_group_says_under_a_name_made_from_its_certificate() {
    let stored = TestCatalog::new().await;
    stored.group(None).await;
    let running = stored.follow().await;
    let local = Some("127.0.0.12");
    let admitted = admit(&running, "pod-1", local, "/web/blue").await.unwrap();
    assert_eq!(admitted.node.as_str(), "web/blue@pod-1");
    assert_eq!(admitted.group, Group::new("127.0.0.12 orders"));
    assert!(admitted.lease.is_some());
    let member = NodeId::new("web/blue@pod-1").unwrap();
    assert!(running.registry.sees(&member, &orders()));
    let billing = DatabaseName::new("billing").unwrap();
    assert!(!running.registry.sees(&member, &billing));
    // Calling itself like a registered sidecar makes it none.
    let admitted = admit(&running, "app-1", local, "/web/blue").await.unwrap();
    assert_eq!(admitted.node.as_str(), "web/blue@app-1");
    // It reports under the name by which it is counted.
    let directory = running.directory(true);
    let reporter = directory.reporter(&"pod-1".into(), &proven("/web/blue"));
    assert_eq!(reporter.unwrap().as_str(), "web/blue@pod-1");
    let reporter = directory.reporter(&"pod-2".into(), &proven("/web/blue"));
    assert!(reporter.is_err(), "it is no member");
}

#[tokio::test]
async fn whom_no_group_admits_is_denied_on_the_record() {
    let stored = TestCatalog::new().await;
    stored.group(None).await;
    let running = stored.follow().await;
    for path in [
        "/web",
        "/web-2/blue",
        "/billing/blue",
        "/pointsman/web/blue",
    ] {
        let refused = admit(&running, "pod-1", Some("127.0.0.12"), path).await;
        let refused = refused.unwrap_err();
        assert!(refused.contains("fleet group list"), "{refused}");
        let principal = format!("spiffe://example.org{path}");
        let denials = running.denials.list();
        assert!(
            denials.iter().any(|line| line.principal == principal),
            "{path}: {denials:?}"
        );
    }
    let refused = admit(&running, "a pod", Some("127.0.0.12"), "/web/blue").await;
    assert!(refused.unwrap_err().contains("web/blue@a pod"));
    assert!(running.view.nodes().iter().all(|node| node.registered));
}

#[tokio::test]
async fn a_member_listens_where_its_group_says_or_else_where_it_says_itself() {
    let stored = TestCatalog::new().await;
    stored.group(None).await;
    let running = stored.follow().await;
    let refused = admit(&running, "pod-1", None, "/web/blue").await;
    assert!(refused.unwrap_err().contains("IP address"));
    stored.group(Some(ip(20))).await;
    running.catch_up(&stored).await;
    for said in [None, Some("127.0.0.12")] {
        let admitted = admit(&running, "pod-1", said, "/web/blue").await.unwrap();
        assert_eq!(admitted.group, Group::new("127.0.0.20 orders"));
    }
}

#[tokio::test]
async fn nobody_is_a_member_of_a_group_that_was_removed() {
    let stored = TestCatalog::new().await;
    stored.group(None).await;
    let running = stored.follow().await;
    let local = Some("127.0.0.12");
    admit(&running, "pod-1", local, "/web/blue").await.unwrap();
    let member = NodeId::new("web/blue@pod-1").unwrap();
    let group = GroupName::new("web").unwrap();
    stored.catalog.remove_group(&group).await.unwrap();
    running.catch_up(&stored).await;
    assert!(!running.registry.sees(&member, &orders()));
    admit(&running, "pod-1", local, "/web/blue")
        .await
        .unwrap_err();
}

#[tokio::test]
async fn over_plain_text_nobody_is_a_member() {
    let stored = TestCatalog::new().await;
    stored.group(None).await;
    let running = stored.follow().await;
    let claimed = node("web/blue@pod-1", Some("127.0.0.12"));
    let refused = running.directory(false).admit(&claimed, &peer()).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn the_members_of_a_former_process_are_awaited_until_their_group_is_removed() {
    let stored = TestCatalog::new().await;
    stored.group(None).await;
    let former = stored.follow().await;
    let local = Some("127.0.0.12");
    admit(&former, "pod-1", local, "/web/blue").await.unwrap();
    let recorded = async {
        while stored.catalog.members().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let soon = Duration::from_secs(20);
    tokio::time::timeout(soon, recorded).await.unwrap();
    drop(former);

    let running = stored.follow().await;
    let member = NodeId::new("web/blue@pod-1").unwrap();
    assert_eq!(running.view.awaited().get(&member), Some(&false));
    let rows = running.view.nodes();
    let row = rows.iter().find(|row| row.id == member.as_str()).unwrap();
    assert_eq!(row.state.label(), "ABSENT");
    let before = "before this control plane began";
    assert!(row.message.contains(before), "{row:?}");

    let group = GroupName::new("web").unwrap();
    stored.catalog.remove_group(&group).await.unwrap();
    running.catch_up(&stored).await;
    assert_eq!(running.view.awaited().get(&member), None);
}

#[tokio::test]
async fn a_member_that_a_former_process_kept_is_awaited_until_it_is_given_up() {
    let stored = TestCatalog::new().await;
    stored.group(None).await;
    let member = GroupMember {
        id: NodeId::new("web/blue@pod-1").unwrap(),
        group: GroupName::new("web").unwrap(),
        identity: "spiffe://example.org/web/blue".to_owned(),
        listen: ip(12),
        silence: Some(Silence::Kept),
    };
    stored.catalog.record_members([&member], []).await.unwrap();
    let running = stored.follow().await;
    let rows = running.view.nodes();
    let row = rows
        .iter()
        .find(|row| row.id == member.id.as_str())
        .unwrap();
    assert_eq!(row.lease.as_deref(), Some("kept"));
    assert!(row.message.contains("fleet retire"), "{row:?}");
    assert!(running.registry.give_up(&member.id));
    assert_eq!(running.view.awaited().get(&member.id), None);
    assert!(!running.registry.give_up(&member.id));
    let membership = running.data_plane.membership().await.unwrap();
    assert_eq!(
        membership.emptied,
        [],
        "an operator knows that it has ended"
    );
}
