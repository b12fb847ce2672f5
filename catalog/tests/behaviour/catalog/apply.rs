//! What applying a file does, and what it leaves alone.

use pointsman_catalog::{CatalogError, Epoch, Routes};
use tokio::task::JoinSet;

use super::*;

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
