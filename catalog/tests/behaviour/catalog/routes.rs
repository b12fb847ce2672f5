//! Routes change together, and each change takes an epoch.

use pointsman_catalog::{CatalogError, ChangedRoutes, Epoch};
use tokio::task::JoinSet;

use super::*;

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
