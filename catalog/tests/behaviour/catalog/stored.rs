//! The form in the store, and what a follower reads of it.

use std::{error::Error as _, net::SocketAddr};

use pointsman_catalog::{Endpoint, store::Precondition};

use super::*;
use crate::store_suite::put;

#[tokio::test]
async fn what_does_not_decode_is_named_by_its_key() {
    let faulty = [
        ("servers/blue", "{"),
        (
            "databases/orders",
            "{\"format\":1,\"record\":{\"name\":\"orders\",\"from_the_future\":1}}",
        ),
        (
            "routes/orders",
            "{\"format\":1,\"record\":{\"epoch\":\"x\"}}",
        ),
        (
            "routes/Orders",
            "{\"format\":1,\"record\":{\"epoch\":1,\"writer\":{\"kind\":\"refuse\"},\"reader\":{\"kind\":\"refuse\"}}}",
        ),
        ("nodes/sc0", "[]"),
    ];
    for (key, value) in faulty {
        let (catalog, _dir) = empty();
        let write = put(key, value, Precondition::Any);
        catalog.store().commit(vec![write]).await.unwrap();
        let error = match key.split('/').next().unwrap() {
            "servers" => catalog.servers().await.map(drop),
            "databases" => catalog.databases().await.map(drop),
            "routes" => catalog.routes().await.map(drop),
            _ => catalog.nodes().await.map(drop),
        };
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), format!("{key} does not decode"));
        assert!(error.source().is_some(), "{key}: the cause is lost");
    }
}

#[tokio::test]
async fn another_format_is_refused_by_key_with_what_to_do() {
    let (catalog, _dir) = empty();
    let older = put("servers/blue", "{\"name\":\"blue\"}", Precondition::Any);
    let newer = put(
        "nodes/sc0",
        "{\"format\":2,\"record\":{}}",
        Precondition::Any,
    );
    catalog.store().commit(vec![older, newer]).await.unwrap();
    let older = catalog.servers().await.unwrap_err().to_string();
    assert!(
        older.starts_with("servers/blue is stored without a format number, and this program"),
        "{older}"
    );
    let newer = catalog.nodes().await.unwrap_err().to_string();
    assert!(
        newer.starts_with("nodes/sc0 is stored in format 2, and this program reads format 1 only"),
        "{newer}"
    );
    assert!(newer.contains("serve --init"), "{newer}");
}

/// What is in the stores of running control planes; changing it needs a migration.
#[tokio::test]
async fn the_stored_form_is_pinned() {
    let (catalog, _dir) = filled().await;
    let draining = Route::Serve {
        servers: vec![server("green")],
        draining: vec![server("blue")],
    };
    let both = RouteChange {
        writer: Some(draining),
        reader: Some(hold("green")),
    };
    catalog
        .change_routes(&[(database("orders"), both)].into())
        .await
        .unwrap();
    catalog.register(node("sc0", "127.0.1.1")).await.unwrap();
    let stored = catalog.store().range("").await.unwrap();
    let lines: Vec<_> = stored
        .iter()
        .map(|(key, it)| format!("{key} {}", std::str::from_utf8(&it.value).unwrap()))
        .collect();
    assert_eq!(
        lines.join("\n"),
        r#"applied {"format":1,"record":{}}
databases/billing {"format":1,"record":{"name":"billing","datname":"billing","writer":"blue","readers":[],"listen":{"writer":6434,"reader":6435}}}
databases/orders {"format":1,"record":{"name":"orders","datname":"orders","writer":"blue","readers":["green"],"listen":{"writer":6432,"reader":6433}}}
nodes/sc0 {"format":1,"record":{"id":"sc0","listen":"127.0.1.1","registered_at":1}}
routes/billing {"format":1,"record":{"epoch":1,"writer":{"kind":"serve","servers":["blue"],"draining":[]},"reader":{"kind":"serve","servers":[],"draining":[]}}}
routes/orders {"format":1,"record":{"epoch":2,"writer":{"kind":"serve","servers":["green"],"draining":["blue"]},"reader":{"kind":"hold","from":["green"],"since":1000,"until":6000}}}
servers/blue {"format":2,"record":{"name":"blue","endpoint":"127.0.0.1:15432","control":"host=127.0.0.1 port=15432 user=postgres","fence":"sql+hba"}}
servers/green {"format":2,"record":{"name":"green","endpoint":"127.0.0.1:15433","control":"host=127.0.0.1 port=15433 user=postgres","fence":"sql"}}"#
    );
    assert_eq!(
        catalog.routes().await.unwrap().len(),
        2,
        "and it is read back"
    );
}

#[tokio::test]
async fn a_follower_reads_the_whole_catalogue_once_and_then_what_changed() {
    let (catalog, _dir) = filled().await;
    catalog.register(node("sc0", "127.0.1.1")).await.unwrap();
    let all = catalog.changes(None).await.unwrap();
    assert!(all.complete);
    let databases = [database("billing"), database("orders")];
    assert!(all.databases.keys().eq(&databases));
    assert!(all.routes.keys().eq(&databases));
    assert!(all.servers.keys().eq(&[server("blue"), server("green")]));
    assert_eq!(all.nodes.len(), 1);
    assert_eq!(all.addresses.len(), 0);

    let moved = catalog
        .change_routes(&changes(&["orders"], &serve("green")))
        .await
        .unwrap();
    let endpoint: Endpoint = "127.0.0.1:15432".parse().unwrap();
    let address: SocketAddr = "127.0.0.1:15432".parse().unwrap();
    let resolved = [(endpoint.clone(), vec![address])].into();
    catalog.record_addresses(&resolved).await.unwrap();
    assert_eq!(catalog.addresses().await.unwrap(), resolved);
    let id = NodeId::new("sc0").unwrap();
    let last = catalog.retire(&id).await.unwrap();
    let news = catalog.changes(Some(all.revision)).await.unwrap();
    assert_eq!((news.complete, news.revision), (false, last));
    let orders = database("orders");
    let routes = moved.routes[&orders].clone();
    assert_eq!(news.routes, [(orders, Some(routes))].into());
    assert_eq!(news.nodes, [(id, None)].into());
    assert_eq!(news.addresses, [(endpoint, Some(vec![address]))].into());
    assert!(news.servers.is_empty() && news.databases.is_empty());
}
