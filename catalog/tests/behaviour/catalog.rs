//! What the catalogue keeps true of its store.

use std::{collections::BTreeMap, error::Error as _, net::SocketAddr, sync::Arc};

use pointsman_catalog::{
    Applied, Catalog, CatalogError, ChangedRoutes, DatabaseName, Declaration, Endpoint, Epoch,
    FieldChange, Node, NodeId, OpenSessions, Registered, Route, RouteChange, Routes, ServerName,
    UnixMillis,
    store::{EmbeddedStore, Precondition},
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::store_suite::put;

const FILE: &str = r#"
[servers.blue]
endpoint = "127.0.0.1:15432"
control = "host=127.0.0.1 port=15432 user=postgres"
fence = "sql+hba"

[servers.green]
endpoint = "127.0.0.1:15433"
control = "host=127.0.0.1 port=15433 user=postgres"

[databases.billing]
writer = "blue"
listen = { writer = 6434, reader = 6435 }

[databases.orders]
writer = "blue"
readers = ["green"]
listen = { writer = 6432, reader = 6433 }
"#;

fn empty() -> (Catalog, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::create(dir.path()).unwrap();
    (Catalog::new(Arc::new(store)), dir)
}

async fn filled() -> (Catalog, TempDir) {
    let (catalog, dir) = empty();
    apply(&catalog, FILE).await;
    (catalog, dir)
}

async fn apply(catalog: &Catalog, file: &str) -> Applied {
    let declaration = Declaration::parse(file, "dal.toml").unwrap();
    catalog
        .apply(&declaration, OpenSessions::Keep)
        .await
        .unwrap()
}

/// What was changed, with the fields and their values.
fn texts(applied: &Applied) -> Vec<String> {
    let field = |change: &FieldChange| match &change.values {
        Some((before, after)) => format!("{} {before} → {after}", change.field),
        None => change.field.to_owned(),
    };
    let changed = applied.changed.iter();
    changed
        .map(|changed| {
            let fields: Vec<_> = changed.fields.iter().map(field).collect();
            format!("{}: {}", changed.what, fields.join(", "))
        })
        .collect()
}

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn database(name: &str) -> DatabaseName {
    DatabaseName::new(name).unwrap()
}

fn node(name: &str, listen: &str) -> Node {
    Node {
        id: NodeId::new(name).unwrap(),
        listen: listen.parse().unwrap(),
        registered_at: UnixMillis(1),
        canary: false,
        databases: None,
    }
}

fn serve(name: &str) -> Route {
    Route::serve(vec![server(name)])
}

fn writer(route: Route) -> RouteChange {
    RouteChange {
        writer: Some(route),
        reader: None,
    }
}

/// The writer route of each of `names` becomes `route`.
fn changes(names: &[&str], route: &Route) -> BTreeMap<DatabaseName, RouteChange> {
    names
        .iter()
        .map(|name| (database(name), writer(route.clone())))
        .collect()
}

fn hold(from: &str) -> Route {
    Route::Hold {
        from: vec![server(from)],
        since: UnixMillis(1_000),
        until: UnixMillis(6_000),
    }
}

#[tokio::test]
async fn a_new_database_gets_the_routes_of_the_file_at_epoch_one() {
    let (catalog, _dir) = empty();
    let applied = apply(&catalog, FILE).await;
    let added = [
        "server blue",
        "server green",
        "database billing",
        "database orders",
    ];
    assert_eq!(applied.added, added);
    assert_eq!((applied.changed.len(), applied.left.len()), (0, 0));
    let expected = Routes {
        epoch: Epoch(1),
        writer: serve("blue"),
        reader: serve("green"),
    };
    assert_eq!(
        catalog.routes().await.unwrap()[&database("orders")],
        expected
    );
}

#[tokio::test]
async fn applying_a_file_again_changes_nothing() {
    let (catalog, _dir) = filled().await;
    let before = *catalog.store().watch().borrow();
    assert_eq!(apply(&catalog, FILE).await, Applied::default());
    assert_eq!(
        *catalog.store().watch().borrow(),
        before,
        "not even a commit"
    );
}

#[tokio::test]
async fn a_file_changes_what_moves_no_client() {
    let (catalog, _dir) = filled().await;
    let file = FILE.replace("\"sql+hba\"", "\"sql\"").replace(
        "[databases.orders]",
        "[databases.orders]\ndatname = \"orders_v2\"",
    );
    let applied = apply(&catalog, &file).await;
    assert_eq!(
        texts(&applied),
        [
            "server blue: fence sql+hba → sql",
            "database orders: datname orders → orders_v2"
        ]
    );
    let orders = catalog.database(&database("orders")).await.unwrap();
    assert_eq!(orders.datname, "orders_v2");
    assert_eq!(
        catalog.routes().await.unwrap()[&orders.name].epoch,
        Epoch(1)
    );
}

/// A file that is applied again after a switch would send clients to the fenced server.
#[tokio::test]
async fn applying_a_file_never_changes_a_route() {
    for route in [serve("green"), hold("blue"), Route::Refuse] {
        let (catalog, _dir) = filled().await;
        catalog
            .change_routes(&changes(&["orders"], &route))
            .await
            .unwrap();
        let before = catalog.routes().await.unwrap();
        apply(&catalog, FILE).await;
        let swapped = FILE.replace("writer = \"blue\"", "writer = \"green\"");
        apply(&catalog, &swapped.replace("[\"green\"]", "[]")).await;
        assert_eq!(catalog.routes().await.unwrap(), before, "{route:?}");
    }
}

#[tokio::test]
async fn a_route_that_differs_from_the_file_is_named() {
    let (catalog, _dir) = filled().await;
    catalog
        .change_routes(&changes(&["orders"], &serve("green")))
        .await
        .unwrap();
    catalog
        .change_routes(&changes(&["billing"], &hold("green")))
        .await
        .unwrap();
    assert_eq!(
        apply(&catalog, FILE).await.left,
        [
            "writer route of database billing (held, served before by green)",
            "writer route of database orders (served by green)",
        ]
    );
    let file = FILE.replace("readers = [\"green\"]", "");
    catalog
        .change_routes(&changes(&["billing", "orders"], &serve("blue")))
        .await
        .unwrap();
    let left = apply(&catalog, &file).await.left;
    assert_eq!(left, ["reader route of database orders (served by green)"]);
    let orders = catalog.database(&database("orders")).await.unwrap();
    assert_eq!(orders.readers, [server("green")], "as it was first applied");
}

/// Two servers that swap their endpoints in the file would be a flip without a fence.
#[tokio::test]
async fn the_endpoint_of_a_server_that_is_routed_to_stays() {
    let (catalog, _dir) = filled().await;
    let swapped = FILE
        .replace("endpoint = \"127.0.0.1:15432\"", "endpoint = \"x:1\"")
        .replace(
            "endpoint = \"127.0.0.1:15433\"",
            "endpoint = \"127.0.0.1:15432\"",
        );
    let applied = apply(&catalog, &swapped).await;
    assert_eq!(
        applied.left,
        [
            "endpoint 127.0.0.1:15432 of server blue, where clients of billing, orders are",
            "endpoint 127.0.0.1:15433 of server green, where clients of orders are",
        ]
    );
    assert_eq!(applied.changed, []);

    catalog
        .change_routes(&changes(&["billing", "orders"], &serve("green")))
        .await
        .unwrap();
    let moved = FILE.replace("endpoint = \"127.0.0.1:15432\"", "endpoint = \"x:1\"");
    let applied = apply(&catalog, &moved).await;
    assert_eq!(
        texts(&applied),
        ["server blue: endpoint 127.0.0.1:15432 → x:1"]
    );
    let blue = catalog.server(&server("blue")).await.unwrap();
    assert_eq!(blue.endpoint.to_string(), "x:1");
}

/// Sidecars that listen elsewhere end every session on the former port.
#[tokio::test]
async fn a_changed_port_is_refused_unless_sessions_may_be_cut() {
    let (catalog, _dir) = filled().await;
    let before = catalog.store().range("").await.unwrap();
    let file = FILE.replace("writer = 6432", "writer = 6442");
    let declaration = Declaration::parse(&file, "dal.toml").unwrap();
    let refused = catalog.apply(&declaration, OpenSessions::Keep).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("database orders: listen.writer 6432 → 6442"),
        "{refused}"
    );
    assert!(refused.contains("--cut-sessions"), "{refused}");
    assert_eq!(catalog.store().range("").await.unwrap(), before);

    let applied = catalog
        .apply(&declaration, OpenSessions::Cut)
        .await
        .unwrap();
    assert_eq!(
        texts(&applied),
        ["database orders: listen.writer 6432 → 6442"]
    );
    let orders = catalog.database(&database("orders")).await.unwrap();
    assert_eq!(orders.listen.writer, 6442);
}

#[tokio::test]
async fn a_changed_connection_string_is_named_and_not_shown() {
    let (catalog, _dir) = filled().await;
    let file = FILE.replace("port=15433", "port=15434");
    let applied = apply(&catalog, &file).await;
    assert_eq!(texts(&applied), ["server green: control"]);
}

#[tokio::test]
async fn what_a_file_no_longer_names_is_left_and_listed() {
    let (catalog, _dir) = filled().await;
    let before = catalog.routes().await.unwrap();
    let applied = apply(&catalog, "").await;
    let left = [
        "server blue",
        "server green",
        "database billing",
        "database orders",
    ];
    assert_eq!(applied.left, left);
    assert_eq!(catalog.routes().await.unwrap(), before);
    assert_eq!(catalog.servers().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_declaration_with_an_unknown_server_is_refused_as_a_whole() {
    let (catalog, _dir) = empty();
    let mut declaration = Declaration::parse(FILE, "dal.toml").unwrap();
    declaration.databases[1].readers = vec![server("red")];
    let error = catalog
        .apply(&declaration, OpenSessions::Keep)
        .await
        .unwrap_err();
    assert!(matches!(&error, CatalogError::UnknownServer { name, .. } if *name == server("red")));
    assert_eq!(catalog.store().range("").await.unwrap(), []);

    apply(&catalog, FILE).await;
    declaration.databases[1].readers = vec![server("green")];
    declaration.servers.clear();
    catalog
        .apply(&declaration, OpenSessions::Keep)
        .await
        .unwrap();
}

/// No sidecar could be told of it, nor could a control plane start on it.
#[tokio::test]
async fn what_clashes_with_what_a_file_leaves_out_is_refused_as_a_whole() {
    let (catalog, _dir) = filled().await;
    let before = catalog.store().range("").await.unwrap();
    let file = r#"
        [servers.grey]
        endpoint = "127.0.0.1:15432"
        control = "host=127.0.0.1 user=postgres"
        [databases.stock]
        writer = "grey"
        listen = { writer = 6436, reader = 6433 }
    "#;
    let declaration = Declaration::parse(file, "dal.toml").unwrap();
    let error = catalog
        .apply(&declaration, OpenSessions::Keep)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "nothing was applied: endpoint 127.0.0.1:15432 is that of server blue and of server \
         grey; port 6433 is that of database orders and of database stock"
    );
    assert_eq!(catalog.store().range("").await.unwrap(), before);
}

#[tokio::test]
async fn of_concurrent_applies_that_clash_one_is_refused() {
    let (catalog, _dir) = filled().await;
    let mut tasks = JoinSet::new();
    for name in ["stock", "audit", "users"] {
        let catalog = catalog.clone();
        let file = format!(
            "{FILE}[databases.{name}]\nwriter = \"blue\"\nlisten = {{ writer = 7000, reader = \
             7001 }}"
        );
        let declaration = Declaration::parse(&file, "dal.toml").unwrap();
        tasks.spawn(async move { catalog.apply(&declaration, OpenSessions::Keep).await });
    }
    let outcomes = tasks.join_all().await;
    let applied = outcomes.iter().filter(|outcome| outcome.is_ok());
    assert_eq!(applied.count(), 1, "{outcomes:?}");
}

#[tokio::test]
async fn concurrent_applies_of_one_file_end_in_one() {
    let (catalog, _dir) = empty();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let catalog = catalog.clone();
        tasks.spawn(async move { apply(&catalog, FILE).await });
    }
    let applied = tasks.join_all().await;
    let added: usize = applied.iter().map(|applied| applied.added.len()).sum();
    assert_eq!(added, 4, "{applied:?}");
}

#[tokio::test]
async fn publishing_changes_all_routes_at_one_revision_and_bumps_each_epoch() {
    let (catalog, _dir) = filled().await;
    catalog
        .change_routes(&changes(&["orders"], &hold("blue")))
        .await
        .unwrap();
    let published = catalog
        .change_routes(&changes(&["billing", "orders"], &serve("green")))
        .await
        .unwrap();
    let published = published.routes;
    assert_eq!(published[&database("billing")].epoch, Epoch(2));
    assert_eq!(published[&database("orders")].epoch, Epoch(3));
    assert_eq!(
        published[&database("orders")].reader,
        serve("green"),
        "untouched"
    );
    assert_eq!(catalog.routes().await.unwrap(), published);
    let stored = catalog.store().range("routes/").await.unwrap();
    assert_eq!(stored[0].1.revision, stored[1].1.revision);
}

#[tokio::test]
async fn publishing_what_is_unknown_changes_nothing_and_names_the_known() {
    let (catalog, _dir) = filled().await;
    let before = catalog.routes().await.unwrap();
    let error = catalog
        .change_routes(&changes(&["billing", "stock"], &serve("green")))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no database stock; known: billing, orders"
    );
    let error = catalog
        .change_routes(&changes(&["billing", "orders"], &serve("red")))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no server red; known: blue, green"
    );
    assert_eq!(catalog.routes().await.unwrap(), before);
}

#[tokio::test]
async fn changing_no_routes_commits_nothing() {
    let (catalog, _dir) = filled().await;
    let before = *catalog.store().watch().borrow();
    assert_eq!(
        catalog.change_routes(&BTreeMap::new()).await.unwrap(),
        ChangedRoutes {
            routes: BTreeMap::new(),
            revision: None,
        }
    );
    assert_eq!(*catalog.store().watch().borrow(), before);
}

#[tokio::test]
async fn concurrent_changes_of_routes_each_get_an_epoch_of_their_own() {
    let (catalog, _dir) = filled().await;
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let catalog = catalog.clone();
        tasks.spawn(async move {
            let change = changes(&["orders"], &serve("green"));
            let changed = catalog.change_routes(&change).await.unwrap();
            changed.routes[&database("orders")].epoch
        });
    }
    let mut epochs = tasks.join_all().await;
    epochs.sort();
    assert_eq!(epochs, [Epoch(2), Epoch(3), Epoch(4), Epoch(5)]);
}

#[tokio::test]
async fn a_held_database_counts_as_served_by_the_server_it_comes_from() {
    let (catalog, _dir) = filled().await;
    let served = async |name: &str| {
        let names = catalog.databases_served_by(&server(name)).await.unwrap();
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(served("blue").await, ["billing", "orders"]);
    catalog
        .change_routes(&changes(&["orders"], &hold("blue")))
        .await
        .unwrap();
    assert_eq!(served("blue").await, ["billing", "orders"]);
    catalog
        .change_routes(&changes(&["orders"], &serve("green")))
        .await
        .unwrap();
    assert_eq!(served("blue").await, ["billing"]);
    assert_eq!(
        served("green").await,
        ["orders"],
        "readers alone do not count"
    );
    catalog
        .change_routes(&changes(&["billing"], &Route::Refuse))
        .await
        .unwrap();
    assert_eq!(served("blue").await, Vec::<String>::new());
}

#[tokio::test]
async fn unknown_names_list_the_known() {
    let (catalog, _dir) = empty();
    let message = |error: CatalogError| error.to_string();
    let error = catalog.database(&database("stock")).await.unwrap_err();
    assert_eq!(message(error), "there is no database stock; known: none");
    apply(&catalog, FILE).await;
    let error = catalog.database(&database("stock")).await.unwrap_err();
    assert_eq!(
        message(error),
        "there is no database stock; known: billing, orders"
    );
    let error = catalog.server(&server("red")).await.unwrap_err();
    assert_eq!(message(error), "there is no server red; known: blue, green");
    catalog.register(node("sc0", "127.0.1.1")).await.unwrap();
    let error = catalog
        .retire(&NodeId::new("sc1").unwrap())
        .await
        .unwrap_err();
    assert_eq!(message(error), "there is no sidecar sc1; registered: sc0");
}

#[tokio::test]
async fn a_sidecar_is_registered_moved_and_retired() {
    let (catalog, _dir) = empty();
    let register = async |node: Node| catalog.register(node).await.unwrap().outcome;
    assert_eq!(register(node("sc0", "127.0.1.1")).await, Registered::New);
    let later = Node {
        registered_at: UnixMillis(2),
        ..node("sc0", "127.0.1.1")
    };
    assert_eq!(register(later).await, Registered::Unchanged);
    assert_eq!(catalog.nodes().await.unwrap(), [node("sc0", "127.0.1.1")]);
    assert_eq!(register(node("sc0", "127.0.1.2")).await, Registered::Moved);
    let id = NodeId::new("sc0").unwrap();
    let found = catalog.node(&id).await.unwrap();
    assert_eq!(found, Some(node("sc0", "127.0.1.2")));
    catalog.retire(&id).await.unwrap();
    assert_eq!(catalog.node(&id).await.unwrap(), None);
    assert_eq!(catalog.nodes().await.unwrap(), []);
}

#[tokio::test]
async fn a_canary_stays_one_when_it_moves() {
    let (catalog, _dir) = empty();
    let id = NodeId::new("sc0").unwrap();
    let unknown = catalog.set_canary(&id, true).await.unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no sidecar sc0; registered: none"
    );
    catalog.register(node("sc0", "127.0.1.1")).await.unwrap();
    assert!(catalog.set_canary(&id, true).await.unwrap().is_some());
    assert_eq!(catalog.set_canary(&id, true).await.unwrap(), None);
    catalog.register(node("sc0", "127.0.1.2")).await.unwrap();
    assert!(catalog.node(&id).await.unwrap().unwrap().canary);
    catalog.set_canary(&id, false).await.unwrap();
    assert!(!catalog.node(&id).await.unwrap().unwrap().canary);
}

#[tokio::test]
async fn sidecars_that_register_at_once_are_all_there() {
    let (catalog, _dir) = empty();
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let catalog = catalog.clone();
        // Each twice, as a sidecar that restarts does.
        let name = format!("sc{}", number / 2);
        tasks.spawn(async move { catalog.register(node(&name, "127.0.1.1")).await });
    }
    let outcomes = tasks.join_all().await;
    let new = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(done) if done.outcome == Registered::New));
    assert_eq!(new.count(), 10, "{outcomes:?}");
    assert_eq!(catalog.nodes().await.unwrap().len(), 10);
}

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
