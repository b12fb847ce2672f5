//! Caches beside sidecars: served, and counted nowhere.

use pointsman_catalog::{GroupName, SidecarGroup};
use pointsman_envoy_config::CACHE_USER_AGENT;
use pointsman_xds::{Admission, Identity, Refusal};

use super::{directory::no_snapshot, state::AdmissionError, *};

fn cache(id: &str, listen: &str) -> NodeDescription {
    NodeDescription {
        user_agent: CACHE_USER_AGENT.to_owned(),
        ..node(id, Some(listen))
    }
}

fn proven(path: &str) -> Peer {
    let identity = Identity::new(&format!("spiffe://example.org{path}")).unwrap();
    Peer {
        identity: Some(identity),
        ..peer()
    }
}

async fn group(stored: &TestCatalog) {
    let group = SidecarGroup {
        name: GroupName::new("web").unwrap(),
        pattern: "spiffe://example.org/web/*".parse().unwrap(),
        databases: Some([orders()].into()),
        listen: None,
        declared_at: UnixMillis(0),
    };
    stored.catalog.add_group(group).await.unwrap();
}

async fn admit(
    running: &Running,
    node: &NodeDescription,
    peer: &Peer,
) -> Result<Admission, Refusal> {
    let directory = running.directory(peer.identity.is_some());
    directory.admit(node, peer).await
}

/// Why it is not entitled.
fn denied(refused: Result<Admission, Refusal>) -> String {
    match refused.unwrap_err() {
        Refusal::Denied(reason) => reason,
        Refusal::Unavailable(reason) => panic!("it would come again: {reason}"),
    }
}

/// Why it is not served yet.
fn unavailable(refused: Result<Admission, Refusal>) -> String {
    match refused.unwrap_err() {
        Refusal::Unavailable(reason) => reason,
        Refusal::Denied(reason) => panic!("a cache forgets what it keeps: {reason}"),
    }
}

#[tokio::test]
async fn a_cache_is_an_observer_of_its_sidecar_with_the_same_resources() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let sidecar = node("app-1", Some("127.0.0.11"));
    let beside = cache("app-1", "127.0.0.11");
    for peer in [peer(), proven("/pointsman/sidecar/app-1")] {
        let own = admit(&running, &sidecar, &peer).await.unwrap();
        let observed = admit(&running, &beside, &peer).await.unwrap();
        assert!(!own.observer && observed.observer);
        assert_eq!((observed.node, observed.group), (own.node, own.group));
    }
    let elsewhere = cache("app-1", "127.0.0.1");
    for peer in [peer(), proven("/pointsman/sidecar/app-1")] {
        let refused = denied(admit(&running, &elsewhere, &peer).await);
        assert!(
            refused.contains("--listen 127.0.0.1, and the sidecar listens on 127.0.0.11"),
            "{refused}"
        );
    }
    let stranger = admit(&running, &beside, &proven("/pointsman/sidecar/app-2")).await;
    assert!(denied(stranger).contains("node.id must be app-2"));
}

#[tokio::test]
async fn the_cache_of_a_member_makes_nobody_a_member() {
    let stored = TestCatalog::new().await;
    group(&stored).await;
    let running = stored.follow().await;
    let (web, beside) = (proven("/web/blue"), cache("pod-1", "127.0.0.1"));
    let admitted = admit(&running, &beside, &web).await.unwrap();
    assert!(admitted.observer && admitted.lease.is_none());
    assert_eq!(admitted.group, Group::new("127.0.0.1 orders"));
    assert!(running.registry.members().is_empty());
    // Addresses are the members': a cache makes up none.
    let elsewhere = cache("pod-1", "127.0.0.12");
    let refused = unavailable(admit(&running, &elsewhere, &web).await);
    assert!(refused.contains("start the sidecar before"), "{refused}");
    let member = node("pod-1", Some("127.0.0.12"));
    admit(&running, &member, &web).await.unwrap();
    let admitted = admit(&running, &elsewhere, &web).await.unwrap();
    assert_eq!(admitted.group, Group::new("127.0.0.12 orders"));
}

/// It is what a cache forgets its file for.
#[tokio::test]
async fn whoever_has_no_right_to_anything_is_denied() {
    let stored = TestCatalog::new().await;
    group(&stored).await;
    let running = stored.follow().await;
    let beside = |id| cache(id, "127.0.0.11");
    for (id, path, reason) in [
        ("stray", "/pointsman/sidecar/stray", "nobody registered it"),
        ("pod-1", "/billing/blue", "fleet group list"),
        ("a pod", "/web/blue", "web/blue@a pod"),
    ] {
        let refused = denied(admit(&running, &beside(id), &proven(path)).await);
        assert!(refused.contains(reason), "{refused}");
    }
    let name = GroupName::new("web").unwrap();
    stored.catalog.remove_group(&name).await.unwrap();
    running.catch_up(&stored).await;
    let refused = admit(&running, &beside("pod-1"), &proven("/web/blue")).await;
    assert!(denied(refused).contains("fleet group list"));
}

#[test]
fn a_snapshot_that_cannot_be_made_denies_nobody_anything() {
    let beside = cache("app-1", "127.0.0.11");
    let refused = no_snapshot(&beside, &AdmissionError::TooManyGroups);
    assert!(unavailable(Err(refused)).contains("listen addresses"));
}
