//! What exists for a sidecar, and who is taken for one.

use std::collections::BTreeSet;

use pointsman_xds::{Group, Identity, NodeDirectory as _, Peer, PermissionDenied, ResourceType};

use super::*;
use crate::fleet::Proven;

fn peer(path: &str) -> Peer {
    let identity = Identity::new(&format!("spiffe://example.org{path}")).unwrap();
    Peer {
        address: "192.0.2.1:1".parse().unwrap(),
        identity: Some(identity),
    }
}

impl House {
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
fn names(publisher: &Publisher, group: &Group) -> BTreeSet<String> {
    let snapshot = publisher.cache.snapshot(group).unwrap();
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

async fn admitted(
    publisher: &Arc<Publisher>,
    id: &str,
    path: &str,
) -> Result<Group, PermissionDenied> {
    let directory = Proven(Arc::clone(publisher));
    directory
        .admit(&node(id, Some("127.0.0.11")), &peer(path))
        .await
}

#[tokio::test]
async fn other_databases_do_not_exist_for_a_sidecar() {
    let house = House::new().await;
    house.entitle("app-2", &["orders"]).await;
    house.entitle("app-3", &[]).await;
    let publisher = house.publisher().await;
    let group = admitted(&publisher, "app-2", "/pointsman/sidecar/app-2").await;
    let found = names(&publisher, &group.unwrap());
    assert!(found.contains("writer.orders"), "{found:?}");
    assert!(
        found.iter().all(|name| name.ends_with(".orders")),
        "{found:?}"
    );
    let group = admitted(&publisher, "app-3", "/pointsman/sidecar/app-3").await;
    assert_eq!(names(&publisher, &group.unwrap()), BTreeSet::new());
    let group = admitted(&publisher, "app-1", "/pointsman/sidecar/app-1").await;
    let all = names(&publisher, &group.unwrap());
    assert!(all.contains("writer.orders") && all.contains("writer.billing"));
}

#[tokio::test]
async fn a_change_of_another_database_is_not_published_to_a_sidecar() {
    let house = House::new().await;
    house.entitle("app-2", &["billing"]).await;
    let publisher = house.publisher().await;
    let group = admitted(&publisher, "app-2", "/pointsman/sidecar/app-2").await;
    let group = group.unwrap();
    let before = publisher.cache.snapshot(&group).unwrap();
    let green = Route::serve(vec![server("green")]);
    publisher.publish(&writer(green)).await.unwrap();
    let after = publisher.cache.snapshot(&group).unwrap();
    for kind in [ResourceType::Cluster, ResourceType::Endpoints] {
        assert!(Arc::ptr_eq(before.set(kind), after.set(kind)), "{kind}");
    }
}

#[tokio::test]
async fn a_sidecar_is_who_its_certificate_says_and_nobody_else() {
    let house = House::new().await;
    house.entitle("app-2", &["orders"]).await;
    let publisher = house.publisher().await;
    for (id, path, words) in [
        (
            "app-1",
            "/pointsman/sidecar/app-2",
            "it said that it is \"app-1\"",
        ),
        ("app-1", "/pointsman/operator/app-1", "not a sidecar's"),
        ("app-1", "/app-1", "not a sidecar's"),
        ("stray", "/pointsman/sidecar/stray", "nobody registered it"),
    ] {
        admitted(&publisher, id, path).await.unwrap_err();
        let tries = publisher.refused_tries();
        let whom = peer(path).identity.unwrap();
        let found = tries
            .iter()
            .any(|line| line.whom == whom.as_str() && line.words.contains(words));
        assert!(found, "{path} as {id}: {tries:?}");
    }
    let directory = Proven(Arc::clone(&publisher));
    let app = peer("/pointsman/sidecar/app-2");
    assert!(directory.may_report(&"app-2".into(), &app).is_ok());
    assert!(directory.may_report(&"app-1".into(), &app).is_err());
}

#[tokio::test]
async fn registering_again_takes_no_entitlement_away_and_gives_none() {
    let house = House::new().await;
    house.entitle("app-2", &["orders"]).await;
    let again = Node {
        id: NodeId::new("app-2").unwrap(),
        listen: ip(12),
        registered_at: UnixMillis(1),
        canary: false,
        databases: None,
    };
    house.catalog.register(again).await.unwrap();
    let publisher = house.publisher().await;
    let group = admitted(&publisher, "app-2", "/pointsman/sidecar/app-2").await;
    let found = names(&publisher, &group.unwrap());
    assert!(
        found.iter().all(|name| name.ends_with(".orders")),
        "{found:?}"
    );
}
