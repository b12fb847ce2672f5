mod entitled;

use std::time::Duration;

use pointsman_catalog::{Declaration, Node, Route, store::EmbeddedStore};
use pointsman_cutover::ports::{Barrier, DataPlane as _};
use pointsman_xds::{Group, NodeDescription, NodeDirectory as _, Peer, ResourceType, Version};

use super::*;
use audience::Audience;

/// A control plane's store with two databases and one registered sidecar.
pub(crate) struct House {
    catalog: Arc<Catalog>,
    _dir: tempfile::TempDir,
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

impl House {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::create(dir.path()).unwrap();
        let catalog = Arc::new(Catalog::new(Arc::new(store)));
        let declaration = Declaration::parse(DECLARED, "dal.toml").unwrap();
        catalog.apply(&declaration).await.unwrap();
        let house = Self { catalog, _dir: dir };
        house.register("app-1", 11).await;
        house
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

    pub(crate) async fn publisher(&self) -> Arc<Publisher> {
        Publisher::restore(Arc::clone(&self.catalog)).await.unwrap()
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
fn assignment(publisher: &Publisher, last: u8, name: &str) -> (Version, Vec<u8>) {
    let snapshot = publisher.cache.snapshot(&group_on(last)).unwrap();
    let found = snapshot.set(ResourceType::Endpoints).get(name).unwrap();
    (found.version(), found.body().to_vec())
}

#[tokio::test]
async fn everything_of_the_store_is_published_before_anybody_is_served() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let snapshot = publisher.cache.snapshot(&group_on(11)).unwrap();
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
    let house = House::new().await;
    let publisher = house.publisher().await;
    let before = publisher.cache.snapshot(&group_on(11)).unwrap();
    let billing = assignment(&publisher, 11, "writer.billing");
    let orders_before = assignment(&publisher, 11, "writer.orders");

    let green = Route::serve(vec![server("green")]);
    let publication = publisher.publish(&writer(green)).await.unwrap();

    let after = publisher.cache.snapshot(&group_on(11)).unwrap();
    assert_eq!(publication.epochs[&orders()].0, 2);
    for kind in [ResourceType::Listener, ResourceType::Cluster] {
        assert_eq!(before.set(kind).version(), after.set(kind).version());
    }
    assert_eq!(assignment(&publisher, 11, "writer.billing"), billing);
    assert_ne!(
        assignment(&publisher, 11, "writer.orders").0,
        orders_before.0
    );
}

#[tokio::test]
async fn routes_that_no_sidecar_can_be_told_are_not_recorded() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let lost = Route::serve(vec![server("lost")]);
    let error = publisher.publish(&writer(lost)).await.unwrap_err();
    assert!(matches!(error, DataPlaneError::Render(_)), "{error}");
    let routes = house.catalog.routes().await.unwrap();
    assert_eq!(routes[&orders()].epoch.0, 1);
}

#[tokio::test]
async fn a_declaration_with_an_unknown_host_is_refused_before_it_is_recorded() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let declaration = Declaration::parse(DECLARED, "dal.toml").unwrap();
    let error = publisher.resolve_declared(&declaration).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("no-such-host.invalid:5432 ("), "{words}");
    assert!(!words.contains("10.0.0.1"), "{words}");
}

#[tokio::test]
async fn a_hold_keeps_its_version_while_it_runs_and_refuses_past_its_end() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let until = UnixMillis(1_000_000);
    let mut world = publisher.world.lock().await;
    let drawn = |world: &World| {
        let snapshots = world.snapshots(&BTreeMap::new()).unwrap();
        let endpoints = snapshots[&group_on(11)].set(ResourceType::Endpoints);
        endpoints.get("writer.orders").unwrap().clone()
    };
    let routes = house.catalog.publish(&writer(hold(until))).await.unwrap();
    let early = world
        .rendered(&writer(hold(until)), UnixMillis(990_000))
        .unwrap();
    world.adopt(routes, early);
    let at_first = drawn(&world);
    assert_eq!(world.next_hold_end(), Some(until));

    world.render_held(UnixMillis(995_000)).unwrap();
    let later = drawn(&world);
    assert_eq!(later.version(), at_first.version());
    assert_ne!(later.body(), at_first.body(), "the remainder is another");

    world.render_held(until).unwrap();
    let refusing = world
        .rendered(&writer(Route::Refuse), until)
        .map(|drawn| world.snapshots(&drawn).unwrap())
        .unwrap();
    let refusing = &refusing[&group_on(11)];
    let refusing = refusing.set(ResourceType::Endpoints).get("writer.orders");
    assert_eq!(drawn(&world).body(), refusing.unwrap().body());
    assert_eq!(world.next_hold_end(), None);
}

#[tokio::test]
async fn a_hold_that_nobody_ends_is_ended_here() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let serving = assignment(&publisher, 11, "writer.orders").0;
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let (running, token) = (Arc::clone(&publisher), stop.clone());
    tasks.spawn(async move { running.run(token).await });

    let until = UnixMillis::now().plus(Duration::from_millis(40));
    publisher.publish(&writer(hold(until))).await.unwrap();
    let held = assignment(&publisher, 11, "writer.orders").0;
    assert_ne!(held, serving);
    let ended = async {
        while assignment(&publisher, 11, "writer.orders").0 == held {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .unwrap();
    assert!(UnixMillis::now() >= until);
    assert_ne!(assignment(&publisher, 11, "writer.orders").0, serving);
    stop.cancel();
    tasks.join_all().await;
}

#[tokio::test]
async fn a_stranger_is_served_where_it_says_that_it_listens() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let group = publisher
        .admit(&node("stray", Some("127.0.0.99")), &peer())
        .await
        .unwrap();
    assert_eq!(group, Group::new("127.0.0.99"));
    let snapshot = publisher.cache.snapshot(&group).unwrap();
    assert_eq!(snapshot.set(ResourceType::Listener).len(), 4);
    // What all groups have is one object, compared by nobody twice.
    publisher
        .publish(&writer(Route::serve(vec![server("green")])))
        .await
        .unwrap();
    let (own, other) = (group_on(11), group_on(99));
    let endpoints = |group| {
        let snapshot = publisher.cache.snapshot(group).unwrap();
        Arc::clone(snapshot.set(ResourceType::Endpoints))
    };
    assert!(Arc::ptr_eq(&endpoints(&own), &endpoints(&other)));
}

#[tokio::test]
async fn a_sidecar_that_is_retired_while_connected_hears_of_changes_still() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    publisher
        .admit(&node("app-1", None), &peer())
        .await
        .unwrap();
    let before = assignment(&publisher, 11, "writer.orders").0;
    let app = NodeId::new("app-1").unwrap();
    house.catalog.retire(&app).await.unwrap();
    publisher.refresh().await.unwrap();
    publisher
        .publish(&writer(Route::serve(vec![server("green")])))
        .await
        .unwrap();
    assert_ne!(assignment(&publisher, 11, "writer.orders").0, before);
}

#[tokio::test]
async fn the_registry_outweighs_what_a_node_says_of_itself() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let said = node("app-1", Some("127.0.0.99"));
    assert_eq!(publisher.admit(&said, &peer()).await.unwrap(), group_on(11));
}

#[tokio::test]
async fn nodes_that_could_not_be_counted_are_not_served() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    for node in [node("NOT A NAME", Some("127.0.0.99")), node("mute", None)] {
        assert!(publisher.admit(&node, &peer()).await.is_err(), "{node:?}");
    }
}

#[tokio::test]
async fn a_sidecar_that_is_registered_and_away_is_absent() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let membership = publisher.membership().await.unwrap();
    assert_eq!(membership.registered, membership.absent);
    assert_eq!(membership.registered, [NodeId::new("app-1").unwrap()]);
    let views = publisher.nodes();
    assert_eq!(views[0].state.label(), "ABSENT");
    assert_eq!(views[0].listen, Some(ip(11)));
}

#[tokio::test]
async fn a_barrier_over_all_registered_waits_for_one_that_is_away_and_names_it() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let green = Route::serve(vec![server("green")]);
    let publication = publisher.publish(&writer(green)).await.unwrap();
    let converge = |barrier| publisher.converge(&publication, barrier, Duration::ZERO);
    let all = converge(Barrier::AllRegistered).await;
    assert!(!all.reached, "{all:?}");
    assert_eq!(all.absent, [NodeId::new("app-1").unwrap()]);
    let connected = converge(Barrier::AllConnected).await;
    assert!(connected.reached, "{connected:?}");
    assert_eq!(connected.absent, all.absent);
}

#[tokio::test]
async fn a_new_address_is_a_new_publish_and_no_new_epoch() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let before = assignment(&publisher, 11, "writer.orders").0;
    {
        let mut world = publisher.world.lock().await;
        let moved = addresses::answered("10.0.0.1:5432", Ok("10.9.9.9:5432"));
        assert!(world.addresses.learn(moved).await.unwrap());
        world.render_all(UnixMillis::now()).unwrap();
        publisher.send(&world).unwrap();
    }
    assert_ne!(assignment(&publisher, 11, "writer.orders").0, before);
    let routes = house.catalog.routes().await.unwrap();
    assert_eq!(routes[&orders()].epoch.0, 1);
}

/// The runtime layer that the group on 127.0.0.11 has.
fn layer(publisher: &Publisher) -> Version {
    let snapshot = publisher.cache.snapshot(&group_on(11)).unwrap();
    snapshot.set(ResourceType::Runtime).version()
}

#[tokio::test]
async fn a_rehearsal_changes_a_number_that_nobody_looks_at_and_names_who_is_missing() {
    let house = House::new().await;
    let publisher = house.publisher().await;
    let (before, orders_before) = (
        layer(&publisher),
        assignment(&publisher, 11, "writer.orders"),
    );
    let rehearsal = publisher.rehearse(Duration::ZERO).await.unwrap();
    assert!(rehearsal.canaries.is_none());
    let fleet = rehearsal.fleet.unwrap();
    assert!(!fleet.reached);
    assert_eq!(fleet.absent, [NodeId::new("app-1").unwrap()]);
    let after = layer(&publisher);
    assert_ne!(after, before);
    assert_eq!(assignment(&publisher, 11, "writer.orders"), orders_before);
    assert_eq!(house.catalog.routes().await.unwrap()[&orders()].epoch.0, 1);
    // What is published next does not take it back.
    publisher.refresh().await.unwrap();
    assert_eq!(layer(&publisher), after);
}

#[tokio::test]
async fn a_canary_that_does_not_answer_keeps_a_rehearsal_from_everybody_else() {
    let house = House::new().await;
    let canary = NodeId::new("app-1").unwrap();
    house.catalog.set_canary(&canary, true).await.unwrap();
    let publisher = house.publisher().await;
    let before = layer(&publisher);
    let rehearsal = publisher.rehearse(Duration::ZERO).await.unwrap();
    assert_eq!(rehearsal.canaries.unwrap().absent, [canary]);
    assert!(rehearsal.fleet.is_none());
    assert_eq!(layer(&publisher), before);
    assert!(publisher.nodes()[0].canary);
}

fn peer() -> Peer {
    Peer {
        address: ([127, 0, 0, 1], 1).into(),
        identity: None,
    }
}
