//! What exists for a sidecar, and who is taken for one.

use std::collections::BTreeSet;

use pointsman_xds::{Group, Identity, Peer, Refusal, ResourceType};

use super::*;

fn peer(path: &str) -> Peer {
    let identity = Identity::new(&format!("spiffe://example.org{path}")).unwrap();
    Peer {
        address: "192.0.2.1:1".parse().unwrap(),
        identity: Some(identity),
    }
}

impl TestCatalog {
    /// Registers a node for which these databases exist.
    async fn entitle(&self, id: &str, databases: &[&str]) {
        let node = Node {
            id: NodeId::new(id).unwrap(),
            listen: ip(11),
            registered_at: UnixMillis(0),
            canary: false,
            databases: None,
        };
        self.catalog.register(node.clone()).await.unwrap();
        let databases = databases.iter().map(|name| name.parse().unwrap());
        let databases = Some(databases.collect());
        self.catalog.entitle(&node.id, databases).await.unwrap();
    }
}

/// Every name in the group's snapshot, of all types.
fn names(publishing: &Publishing, group: &Group) -> BTreeSet<String> {
    let snapshot = publishing.cache.snapshot(group).unwrap();
    let kinds = [
        ResourceType::Cluster,
        ResourceType::Endpoints,
        ResourceType::Listener,
    ];
    kinds
        .into_iter()
        .flat_map(|kind| {
            let names = snapshot.set(kind).iter();
            names.map(|resource| resource.name().as_ref().to_owned())
        })
        .collect()
}

async fn admitted(publishing: &Publishing, id: &str, path: &str) -> Result<Group, Refusal> {
    let admitted = publishing
        .directory(true)
        .admit(&node(id, Some("127.0.0.11")), &peer(path))
        .await;
    admitted.map(|admission| admission.group)
}

#[tokio::test]
async fn other_databases_do_not_exist_for_a_sidecar() {
    let stored = TestCatalog::new().await;
    stored.entitle("app-2", &["orders"]).await;
    stored.entitle("app-3", &[]).await;
    let running = stored.follow().await;
    let group = admitted(&running, "app-2", "/pointsman/sidecar/app-2").await;
    let found = names(&running, &group.unwrap());
    assert!(found.contains("writer.orders"), "{found:?}");
    assert!(
        found.iter().all(|name| name.ends_with(".orders")),
        "{found:?}"
    );
    let group = admitted(&running, "app-3", "/pointsman/sidecar/app-3").await;
    assert_eq!(names(&running, &group.unwrap()), BTreeSet::new());
    let group = admitted(&running, "app-1", "/pointsman/sidecar/app-1").await;
    let all = names(&running, &group.unwrap());
    assert!(all.contains("writer.orders") && all.contains("writer.billing"));
}

#[tokio::test]
async fn a_change_of_another_database_is_not_published_to_a_sidecar() {
    let stored = TestCatalog::new().await;
    stored.entitle("app-2", &["billing"]).await;
    let running = stored.follow().await;
    let group = admitted(&running, "app-2", "/pointsman/sidecar/app-2").await;
    let group = group.unwrap();
    let before = running.cache.snapshot(&group).unwrap();
    let green = Route::serve(vec![server("green")]);
    running.data_plane.publish(&writer(green)).await.unwrap();
    let after = running.cache.snapshot(&group).unwrap();
    for kind in [ResourceType::Cluster, ResourceType::Endpoints] {
        assert!(Arc::ptr_eq(before.set(kind), after.set(kind)), "{kind}");
    }
}

#[tokio::test]
async fn a_sidecar_is_who_its_certificate_says_and_nobody_else() {
    let stored = TestCatalog::new().await;
    stored.entitle("app-2", &["orders"]).await;
    let running = stored.follow().await;
    for (id, path, reason) in [
        (
            "app-1",
            "/pointsman/sidecar/app-2",
            "it said that it is \"app-1\"",
        ),
        ("app-1", "/pointsman/operator/app-1", "neither a sidecar's"),
        ("app-1", "/app-1", "neither a sidecar's"),
        ("stray", "/pointsman/sidecar/stray", "nobody registered it"),
    ] {
        admitted(&running, id, path).await.unwrap_err();
        let denials = running.denials.list();
        let principal = peer(path).identity.unwrap();
        let found = denials
            .iter()
            .any(|line| line.principal == principal.as_str() && line.reason.contains(reason));
        assert!(found, "{path} as {id}: {denials:?}");
    }
    let directory = running.directory(true);
    let app = peer("/pointsman/sidecar/app-2");
    let reporter = directory.reporter(&"app-2".into(), &app);
    assert_eq!(reporter.unwrap().as_str(), "app-2");
    assert!(directory.reporter(&"app-1".into(), &app).is_err());
}

#[tokio::test]
async fn registering_again_takes_no_entitlement_away_and_gives_none() {
    let stored = TestCatalog::new().await;
    stored.entitle("app-2", &["orders"]).await;
    let again = Node {
        id: NodeId::new("app-2").unwrap(),
        listen: ip(12),
        registered_at: UnixMillis(1),
        canary: false,
        databases: None,
    };
    stored.catalog.register(again).await.unwrap();
    let running = stored.follow().await;
    let group = admitted(&running, "app-2", "/pointsman/sidecar/app-2").await;
    let found = names(&running, &group.unwrap());
    assert!(
        found.iter().all(|name| name.ends_with(".orders")),
        "{found:?}"
    );
}
