mod caches;
mod entitled;
mod following;
mod grouped;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use pointsman_catalog::{
    Catalog, DatabaseName, Declaration, Node, NodeId, OpenSessions, Route, RouteChange, ServerName,
    Store, UnixMillis, store::EmbeddedStore,
};
use pointsman_cutover::ports::{BarrierPolicy, DataPlane as _, DataPlaneError, SystemClock};
use pointsman_xds::{Group, NodeDescription, Peer, ResourceType, Version};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{audience::Audience, restore, *};

/// A catalogue with two databases and one registered sidecar.
pub(crate) struct TestCatalog {
    pub(crate) catalog: Arc<Catalog>,
    _dir: tempfile::TempDir,
}

/// What follows a catalogue, for as long as this lives.
pub(crate) struct Running {
    publishing: Publishing,
    _tasks: JoinSet<anyhow::Result<()>>,
}

const DECLARED: &str = r#"
[servers.blue]
endpoint = "10.0.0.1:5432"
control = "host=10.0.0.1 user=postgres"
[servers.green]
endpoint = "10.0.0.2:5432"
control = "host=10.0.0.2 user=postgres"
[servers.lost]
endpoint = "no-such-host.invalid:5432"
control = "host=no-such-host.invalid user=postgres"
[databases.orders]
writer = "blue"
readers = ["green"]
listen = { writer = 6432, reader = 6433 }
[databases.billing]
writer = "blue"
readers = ["green"]
listen = { writer = 6442, reader = 6443 }
"#;

impl TestCatalog {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::create(dir.path()).unwrap();
        let catalog = Arc::new(Catalog::new(Arc::new(store)));
        let declaration = Declaration::parse(DECLARED, "dal.toml").unwrap();
        catalog
            .apply(&declaration, OpenSessions::Keep)
            .await
            .unwrap();
        let filled = Self { catalog, _dir: dir };
        filled.register("app-1", 11).await;
        filled
    }

    /// Registers a sidecar that listens on 127.0.0.`last`.
    pub(crate) async fn register(&self, id: &str, last: u8) {
        let node = Node {
            id: NodeId::new(id).unwrap(),
            listen: ip(last),
            registered_at: UnixMillis(0),
            canary: false,
            databases: None,
        };
        self.catalog.register(node).await.unwrap();
    }

    /// Publishes the catalogue and follows it, as a process of its own would.
    pub(crate) async fn follow(&self) -> Running {
        follow(Arc::clone(self.catalog.store())).await
    }
}

/// Publishes the catalogue in `store` and follows it.
async fn follow(store: Arc<dyn Store>) -> Running {
    let catalog = Arc::new(Catalog::new(store));
    let clock = Arc::new(SystemClock::default());
    let (publishing, background) = restore(catalog, clock).await.unwrap();
    let mut tasks = JoinSet::new();
    background.spawn(&mut tasks, &CancellationToken::new());
    Running {
        publishing,
        _tasks: tasks,
    }
}

impl Running {
    /// Waits until everything that was committed is published.
    async fn catch_up(&self, committed: &TestCatalog) {
        let newest = *committed.catalog.store().watch().borrow();
        self.follower.until_published(Some(newest)).await.unwrap();
    }
}

impl Deref for Running {
    type Target = Publishing;

    fn deref(&self) -> &Publishing {
        &self.publishing
    }
}

fn group_on(last: u8) -> Group {
    Audience::of_all(ip(last)).group()
}

fn ip(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

fn orders() -> DatabaseName {
    DatabaseName::new("orders").unwrap()
}

fn writer(route: Route) -> BTreeMap<DatabaseName, RouteChange> {
    let change = RouteChange {
        writer: Some(route),
        reader: None,
    };
    [(orders(), change)].into()
}

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn hold(until: UnixMillis) -> Route {
    Route::Hold {
        from: vec![server("blue")],
        since: UnixMillis(1),
        until,
    }
}

fn node(id: &str, listen: Option<&str>) -> NodeDescription {
    NodeDescription {
        id: id.into(),
        cluster: String::new(),
        metadata: listen
            .map(|listen| ("listen".to_owned(), listen.to_owned()))
            .into_iter()
            .collect(),
        user_agent: String::new(),
        user_agent_version: String::new(),
        client_features: Vec::new(),
    }
}

/// What the group on 127.0.0.`last` has of `name`: version and encoded message.
fn assignment(publishing: &Publishing, last: u8, name: &str) -> (Version, Vec<u8>) {
    let snapshot = publishing.cache.snapshot(&group_on(last)).unwrap();
    let found = snapshot.set(ResourceType::Endpoints).get(name).unwrap();
    (found.version(), found.body().to_vec())
}

#[tokio::test]
async fn everything_of_the_store_is_published_before_anybody_is_served() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let snapshot = running.cache.snapshot(&group_on(11)).unwrap();
    for (kind, count) in [
        (ResourceType::Listener, 4),
        (ResourceType::Cluster, 6),
        (ResourceType::Endpoints, 6),
    ] {
        assert_eq!(snapshot.set(kind).len(), count, "{kind}");
    }
}

#[tokio::test]
async fn a_publish_changes_only_what_it_names() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let before = running.cache.snapshot(&group_on(11)).unwrap();
    let billing = assignment(&running, 11, "writer.billing");
    let orders_before = assignment(&running, 11, "writer.orders");

    let green = Route::serve(vec![server("green")]);
    let publication = running.data_plane.publish(&writer(green)).await.unwrap();

    let after = running.cache.snapshot(&group_on(11)).unwrap();
    assert_eq!(publication.epochs[&orders()].0, 2);
    for kind in [ResourceType::Listener, ResourceType::Cluster] {
        assert_eq!(before.set(kind).version(), after.set(kind).version());
    }
    assert_eq!(assignment(&running, 11, "writer.billing"), billing);
    assert_ne!(assignment(&running, 11, "writer.orders").0, orders_before.0);
}

#[tokio::test]
async fn routes_that_no_sidecar_can_be_told_are_not_recorded() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let lost = Route::serve(vec![server("lost")]);
    let error = running.data_plane.publish(&writer(lost)).await.unwrap_err();
    assert!(matches!(error, DataPlaneError::Render(_)), "{error}");
    let routes = stored.catalog.routes().await.unwrap();
    assert_eq!(routes[&orders()].epoch.0, 1);
}

#[tokio::test]
async fn a_declaration_with_an_unknown_host_is_refused_before_it_is_recorded() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let declaration = Declaration::parse(DECLARED, "dal.toml").unwrap();
    let error = running
        .resolver
        .resolve_declared(&declaration)
        .await
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("no-such-host.invalid:5432 ("), "{message}");
    assert!(!message.contains("10.0.0.1"), "{message}");
}

#[tokio::test]
async fn a_hold_keeps_its_version_while_it_runs_and_refuses_past_its_end() {
    let stored = TestCatalog::new().await;
    let cache = Arc::new(SnapshotCache::new());
    let mut state = PublishedState::new(Arc::clone(&cache));
    let mut followed = None;
    let until = UnixMillis(1_000_000);
    let mut follow = async |state: &mut PublishedState, now| {
        let changes = stored.catalog.changes(followed).await.unwrap();
        followed = Some(changes.revision);
        let affected = state.take(changes);
        state.publish_changes(&affected, UnixMillis(now)).unwrap();
    };
    let published = || {
        let snapshot = cache.snapshot(&group_on(11)).unwrap();
        let endpoints = snapshot.set(ResourceType::Endpoints);
        endpoints.get("writer.orders").unwrap().clone()
    };
    let addresses = ["10.0.0.1:5432", "10.0.0.2:5432"];
    let addresses = addresses.map(|it| (it.parse().unwrap(), vec![it.parse().unwrap()]));
    let recorded = stored.catalog.record_addresses(&addresses.into()).await;
    recorded.unwrap();
    let held = writer(hold(until));
    stored.catalog.change_routes(&held).await.unwrap();
    follow(&mut state, 990_000).await;
    let at_first = published();
    assert_eq!(state.next_hold_end(), Some(until));

    state.publish_holds(UnixMillis(995_000)).unwrap();
    let later = published();
    assert_eq!(later.version(), at_first.version());
    assert_ne!(later.body(), at_first.body(), "the remainder is another");

    state.publish_holds(until).unwrap();
    let ended = published();
    assert_eq!(state.next_hold_end(), None);
    let refuse = writer(Route::Refuse);
    stored.catalog.change_routes(&refuse).await.unwrap();
    follow(&mut state, until.0).await;
    assert_eq!(ended.body(), published().body());
}

#[tokio::test]
async fn a_hold_that_nobody_ends_is_ended_here() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let serving = assignment(&running, 11, "writer.orders").0;
    let until = UnixMillis::now().plus(Duration::from_millis(40));
    running
        .data_plane
        .publish(&writer(hold(until)))
        .await
        .unwrap();
    let held = assignment(&running, 11, "writer.orders").0;
    assert_ne!(held, serving);
    let ended = async {
        while assignment(&running, 11, "writer.orders").0 == held {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap();
    assert!(UnixMillis::now() >= until);
    assert_ne!(assignment(&running, 11, "writer.orders").0, serving);
}

#[tokio::test]
async fn a_stranger_is_served_where_it_says_that_it_listens() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let group = running
        .directory(false)
        .admit(&node("stray", Some("127.0.0.99")), &peer())
        .await
        .unwrap()
        .group;
    assert_eq!(group, Group::new("127.0.0.99"));
    let snapshot = running.cache.snapshot(&group).unwrap();
    assert_eq!(snapshot.set(ResourceType::Listener).len(), 4);
    // Groups share equal resources as one object.
    running
        .data_plane
        .publish(&writer(Route::serve(vec![server("green")])))
        .await
        .unwrap();
    let (own, other) = (group_on(11), group_on(99));
    let endpoints = |group| {
        let snapshot = running.cache.snapshot(group).unwrap();
        Arc::clone(snapshot.set(ResourceType::Endpoints))
    };
    assert!(Arc::ptr_eq(&endpoints(&own), &endpoints(&other)));
}

#[tokio::test]
async fn a_sidecar_that_is_retired_while_connected_hears_of_changes_still() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    running
        .directory(false)
        .admit(&node("app-1", None), &peer())
        .await
        .unwrap();
    let before = assignment(&running, 11, "writer.orders").0;
    let app = NodeId::new("app-1").unwrap();
    stored.catalog.retire(&app).await.unwrap();
    running.catch_up(&stored).await;
    running
        .data_plane
        .publish(&writer(Route::serve(vec![server("green")])))
        .await
        .unwrap();
    assert_ne!(assignment(&running, 11, "writer.orders").0, before);
}

#[tokio::test]
async fn the_registry_outweighs_what_a_node_says_of_itself() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let said = node("app-1", Some("127.0.0.99"));
    assert_eq!(
        running
            .directory(false)
            .admit(&said, &peer())
            .await
            .unwrap()
            .group,
        group_on(11)
    );
}

#[tokio::test]
async fn nodes_that_could_not_be_counted_are_not_served() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    for node in [node("NOT A NAME", Some("127.0.0.99")), node("mute", None)] {
        assert!(
            running
                .directory(false)
                .admit(&node, &peer())
                .await
                .is_err(),
            "{node:?}"
        );
    }
}

#[tokio::test]
async fn a_sidecar_that_is_registered_and_away_is_absent() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let membership = running.data_plane.membership().await.unwrap();
    assert_eq!(membership.registered, membership.absent);
    assert_eq!(membership.registered, [NodeId::new("app-1").unwrap()]);
    let views = running.view.nodes();
    assert_eq!(views[0].state.label(), "ABSENT");
    assert_eq!(views[0].listen, Some(ip(11)));
}

#[tokio::test]
async fn a_barrier_over_all_registered_waits_for_one_that_is_away_and_names_it() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let green = Route::serve(vec![server("green")]);
    let publication = running.data_plane.publish(&writer(green)).await.unwrap();
    let converge = |barrier| {
        running
            .data_plane
            .converge(&publication, barrier, Duration::ZERO)
    };
    let all = converge(BarrierPolicy::AllRegistered).await;
    assert!(!all.reached, "{all:?}");
    assert_eq!(all.absent, [NodeId::new("app-1").unwrap()]);
    let connected = converge(BarrierPolicy::AllConnected).await;
    assert!(connected.reached, "{connected:?}");
    assert_eq!(connected.absent, all.absent);
}

#[tokio::test]
async fn a_new_address_is_a_new_publish_and_no_new_epoch() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let before = assignment(&running, 11, "writer.orders").0;
    let moved: SocketAddr = "10.9.9.9:5432".parse().unwrap();
    let resolved = [("10.0.0.1:5432".parse().unwrap(), vec![moved])].into();
    stored.catalog.record_addresses(&resolved).await.unwrap();
    running.catch_up(&stored).await;
    assert_eq!(running.addresses.server_at(moved), Some(server("blue")));
    assert_ne!(assignment(&running, 11, "writer.orders").0, before);
    let routes = stored.catalog.routes().await.unwrap();
    assert_eq!(routes[&orders()].epoch.0, 1);
}

/// The runtime layer that the group on 127.0.0.11 has.
fn layer(publishing: &Publishing) -> Version {
    let snapshot = publishing.cache.snapshot(&group_on(11)).unwrap();
    snapshot.set(ResourceType::Runtime).version()
}

#[tokio::test]
async fn a_rehearsal_changes_a_number_that_nobody_looks_at_and_names_who_is_missing() {
    let stored = TestCatalog::new().await;
    let running = stored.follow().await;
    let (before, orders_before) = (layer(&running), assignment(&running, 11, "writer.orders"));
    let rehearsal = running.data_plane.rehearse(Duration::ZERO).await.unwrap();
    assert!(rehearsal.canaries.is_none());
    let fleet = rehearsal.fleet.unwrap();
    assert!(!fleet.reached);
    assert_eq!(fleet.absent, [NodeId::new("app-1").unwrap()]);
    let after = layer(&running);
    assert_ne!(after, before);
    assert_eq!(assignment(&running, 11, "writer.orders"), orders_before);
    assert_eq!(stored.catalog.routes().await.unwrap()[&orders()].epoch.0, 1);
    // The next publish does not take it back.
    running.catch_up(&stored).await;
    assert_eq!(layer(&running), after);
}

#[tokio::test]
async fn a_canary_that_does_not_answer_keeps_a_rehearsal_from_everybody_else() {
    let stored = TestCatalog::new().await;
    let canary = NodeId::new("app-1").unwrap();
    stored.catalog.set_canary(&canary, true).await.unwrap();
    let running = stored.follow().await;
    let before = layer(&running);
    let rehearsal = running.data_plane.rehearse(Duration::ZERO).await.unwrap();
    assert_eq!(rehearsal.canaries.unwrap().absent, [canary]);
    assert!(rehearsal.fleet.is_none());
    assert_eq!(layer(&running), before);
    assert!(running.view.nodes()[0].canary);
}

fn peer() -> Peer {
    Peer {
        address: ([127, 0, 0, 1], 1).into(),
        identity: None,
    }
}
