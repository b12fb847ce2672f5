//! What the catalogue keeps true of its store.

mod apply;
mod nodes;
mod routes;
mod stored;

use std::{collections::BTreeMap, sync::Arc};

use pointsman_catalog::{
    Applied, Catalog, DatabaseName, Declaration, FieldChange, Node, NodeId, OpenSessions, Route,
    RouteChange, ServerName, UnixMillis, store::EmbeddedStore,
};
use tempfile::TempDir;

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
