use std::{fmt, mem, time::Duration};

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::{
            accesslog::v3::access_log,
            cluster::v3::Cluster,
            core::v3::HealthCheck,
            endpoint::v3::ClusterLoadAssignment,
            listener::v3::{Listener, filter},
        },
        extensions::{
            access_loggers::grpc::v3::TcpGrpcAccessLogConfig,
            filters::network::tcp_proxy::v3::TcpProxy,
        },
    },
    google::protobuf::Any,
};
use pointsman_catalog::{DatabaseName, Epoch, ListenPorts, Route};
use pointsman_xds::{Resource, ResourceType, Version};
use prost::Message;

use super::*;
use crate::hold::outlasting;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const UNTIL: UnixMillis = UnixMillis(NOW.0 + 10_000);

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn addresses(of: &[(&str, &[&str])]) -> Addresses {
    let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    of.iter()
        .map(|&(name, texts)| (server(name), parse(texts)))
        .collect()
}

fn blue_and_green() -> Addresses {
    addresses(&[
        ("blue", &["10.0.0.1:5432"]),
        ("green", &["10.0.0.2:5432"]),
        ("nowhere", &[]),
    ])
}

fn database(name: &str, writer: u16) -> Database {
    Database {
        name: DatabaseName::new(name).unwrap(),
        datname: name.to_owned(),
        writer: server("blue"),
        readers: vec![server("green")],
        listen: ListenPorts {
            writer,
            reader: writer + 1,
        },
    }
}

fn serve(servers: &[&str], draining: &[&str]) -> Route {
    Route::Serve {
        servers: servers.iter().map(|&name| server(name)).collect(),
        draining: draining.iter().map(|&name| server(name)).collect(),
    }
}

fn hold(from: &[&str]) -> Route {
    Route::Hold {
        from: from.iter().map(|&name| server(name)).collect(),
        since: NOW,
        until: UNTIL,
    }
}

/// The writer's assignment of a database whose writer route is `route`.
fn try_assigned(
    route: Route,
    addresses: &Addresses,
    now: UnixMillis,
) -> Result<Rendered, BuildError> {
    let database = database("orders", 6432);
    let routes = Routes {
        epoch: Epoch(7),
        writer: route,
        reader: Route::Refuse,
    };
    let served = ServedDatabase {
        database: &database,
        routes: &routes,
        probe_targets: &[],
    };
    let mut resources = of_database(&served, addresses, now)?;
    resources.retain(|resource| {
        resource.kind == ResourceType::Endpoints && resource.name.starts_with("writer.")
    });
    Ok(resources.remove(0))
}

fn assigned(route: Route, now: UnixMillis) -> Rendered {
    try_assigned(route, &blue_and_green(), now).unwrap()
}

/// A message's text without its defaults, which are most of it, and without the `Some(…)`
/// and the like that only wrap another value.
fn readable<M: Message + Default + fmt::Debug>(body: &[u8]) -> String {
    let text = format!("{:#?}", M::decode(body).unwrap());
    let defaults = [": None,", ": [],", ": {},", ": \"\",", ": 0,", ": false,"];
    let said = text
        .lines()
        .filter(|line| !defaults.iter().any(|default| line.ends_with(default)));
    let (mut lines, mut wrappers, mut label) = (Vec::new(), 0, String::new());
    for line in said {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(head) = text.strip_suffix('(') {
            let end = head.rfind(' ').map_or(0, |space| space + 1);
            label.push_str(&head[..end]);
            wrappers += 1;
        } else if text == ")," {
            wrappers -= 1;
        } else {
            let indent = " ".repeat(indent - 4 * wrappers);
            lines.push(format!("{indent}{}{text}", mem::take(&mut label)));
        }
    }
    lines.join("\n")
}

fn version(rendered: Rendered) -> Version {
    Resource::from(rendered).version()
}

/// Takes the embedded message out of `any`: it reads better by itself.
fn take(any: &mut Any) -> Vec<u8> {
    mem::take(&mut any.value)
}

#[test]
fn serving_from_another_server_keeps_the_former_one_draining() {
    let assigned = assigned(serve(&["green"], &["blue"]), NOW);
    insta::assert_snapshot!(readable::<ClusterLoadAssignment>(&assigned.body));
}

#[test]
fn a_hold_leaves_one_endpoint_that_cannot_be_reached_and_ends_by_itself() {
    let held = assigned(hold(&["blue"]), UnixMillis(NOW.0 + 1500));
    insta::assert_snapshot!(readable::<ClusterLoadAssignment>(&held.body));
}

#[test]
fn a_refused_route_has_no_endpoint() {
    let refused = assigned(Route::Refuse, NOW);
    insta::assert_snapshot!(readable::<ClusterLoadAssignment>(&refused.body), @r#"
    ClusterLoadAssignment {
        cluster_name: "writer.orders",
    }
    "#);
}

#[test]
fn a_cluster_gets_its_endpoints_by_eds() {
    let cluster = cluster::eds("writer.orders");
    insta::assert_snapshot!(readable::<Cluster>(&cluster.body));
}

#[test]
fn a_probe_cluster_tries_its_endpoints_and_is_like_the_others_apart_from_that() {
    let probe = Cluster::decode(cluster::probe("probe.orders").body).unwrap();
    let check = probe.health_checks[0].encode_to_vec();
    insta::assert_snapshot!(readable::<HealthCheck>(&check));
    let alike = Cluster {
        health_checks: Vec::new(),
        ..probe
    };
    assert_eq!(alike.encode_to_vec(), cluster::eds("probe.orders").body);
}

#[test]
fn a_listener_forwards_to_the_cluster_of_its_name() {
    let rendered = listener::tcp("writer.orders", "127.0.0.11:6432".parse().unwrap());
    let mut listener = Listener::decode(rendered.body).unwrap();
    let filter = &mut listener.filter_chains[0].filters[0];
    let Some(filter::ConfigType::TypedConfig(any)) = &mut filter.config_type else {
        panic!("no typed configuration");
    };
    let mut proxy = TcpProxy::decode(take(any).as_slice()).unwrap();
    let log = &mut proxy.access_log[0].config_type;
    let Some(access_log::ConfigType::TypedConfig(any)) = log else {
        panic!("no typed configuration");
    };
    let log = readable::<TcpGrpcAccessLogConfig>(&take(any));
    let proxy = readable::<TcpProxy>(&proxy.encode_to_vec());
    let listener = readable::<Listener>(&listener.encode_to_vec());
    insta::assert_snapshot!([listener, proxy, log].join("\n\n"));
}

#[test]
fn a_holds_version_ignores_how_much_of_it_is_left() {
    let early = assigned(hold(&["blue"]), NOW);
    let late = assigned(hold(&["blue"]), UnixMillis(NOW.0 + 9000));
    assert_ne!(early.body, late.body);
    assert_eq!(version(early), version(late));
}

#[test]
fn another_hold_has_another_version() {
    let first = assigned(hold(&["blue"]), NOW);
    for other in [
        hold(&["green"]),
        Route::Hold {
            from: vec![server("blue")],
            since: NOW,
            until: UnixMillis(UNTIL.0 + 1),
        },
        Route::Hold {
            from: vec![server("blue")],
            since: UnixMillis(NOW.0 + 1),
            until: UNTIL,
        },
    ] {
        let other = assigned(other, NOW);
        assert_ne!(version(first.clone()), version(other));
    }
}

#[test]
fn only_a_hold_has_a_version_apart_from_its_body() {
    for route in [serve(&["blue"], &["green"]), Route::Refuse] {
        let rendered = assigned(route, NOW);
        assert_eq!(rendered.version_seed, rendered.body);
    }
}

#[test]
fn a_hold_that_is_over_refuses() {
    let refused = assigned(Route::Refuse, NOW);
    assert_eq!(assigned(hold(&["blue"]), UNTIL), refused);
    let last = assigned(hold(&["blue"]), UnixMillis(UNTIL.0 - 1));
    let last = ClusterLoadAssignment::decode(last.body).unwrap();
    let left = last.policy.unwrap().endpoint_stale_after.unwrap();
    assert_eq!((left.seconds, left.nanos), (0, 1_000_000));
}

#[test]
fn the_order_in_which_a_resolver_answers_changes_nothing() {
    let one = addresses(&[("blue", &["10.0.0.1:5432", "10.0.0.9:5432"])]);
    let other = addresses(&[("blue", &["10.0.0.9:5432", "10.0.0.1:5432", "10.0.0.9:5432"])]);
    let blue = || serve(&["blue"], &[]);
    assert_eq!(
        try_assigned(blue(), &one, NOW),
        try_assigned(blue(), &other, NOW)
    );
}

#[test]
fn an_address_that_serves_does_not_drain() {
    let both = serve(&["blue", "green"], &["blue"]);
    assert_eq!(
        assigned(both, NOW),
        assigned(serve(&["blue", "green"], &[]), NOW)
    );
}

#[test]
fn a_serving_server_without_address_is_an_error_that_names_it() {
    for missing in ["nowhere", "unheard-of"] {
        let error = try_assigned(serve(&["blue", missing], &[]), &blue_and_green(), NOW);
        let error = error.unwrap_err();
        assert_eq!(
            error,
            BuildError::Unresolved {
                cluster: "writer.orders".to_owned(),
                server: server(missing),
            }
        );
        assert!(error.to_string().contains(missing), "{error}");
    }
}

#[test]
fn a_draining_server_without_address_is_left_out() {
    assert_eq!(
        assigned(serve(&["green"], &["nowhere"]), NOW),
        assigned(serve(&["green"], &[]), NOW)
    );
    assert!(try_assigned(hold(&["nowhere"]), &blue_and_green(), NOW).is_ok());
}

#[test]
fn a_change_of_routes_changes_assignments_alone() {
    let database = database("orders", 6432);
    let render = |writer: Route, probe_targets: &[ServerName]| {
        let routes = Routes {
            epoch: Epoch(1),
            reader: writer.clone(),
            writer,
        };
        let served = ServedDatabase {
            database: &database,
            routes: &routes,
            probe_targets,
        };
        shared(&[served], &blue_and_green(), NOW).unwrap()
    };
    let before = render(serve(&["blue"], &[]), &[]);
    for route in [serve(&["green"], &["blue"]), hold(&["blue"]), Route::Refuse] {
        let after = render(route, &[server("green")]);
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            let same = before == after;
            assert_eq!(
                same,
                before.kind != ResourceType::Endpoints,
                "{}",
                before.name
            );
        }
    }
}

#[test]
fn two_listeners_on_one_port_are_refused() {
    let ip = IpAddr::from([127, 0, 0, 11]);
    let databases = [database("orders", 6432), database("users", 6433)];
    let error = listeners(ip, &databases).unwrap_err();
    assert_eq!(
        error.to_string(),
        "reader.orders and writer.users both listen on port 6433: give one of the databases \
         another listen port"
    );
    let apart = [database("orders", 6432), database("users", 6434)];
    assert_eq!(listeners(ip, &apart).unwrap().len(), 4);
}

/// Also with an unlucky backoff a connection has attempts left when the longest hold
/// ends: the mean less five standard deviations.
#[test]
fn attempts_outlast_the_longest_hold() {
    let attempts = f64::from(crate::hold::MAX_CONNECT_ATTEMPTS);
    let max = crate::hold::BACKOFF_MAX.as_secs_f64();
    let deviation = max / 12_f64.sqrt() * attempts.sqrt();
    let least = attempts * max / 2.0 - 5.0 * deviation;
    assert!(
        Duration::from_secs_f64(least) > crate::MAX_HOLD,
        "{least} s"
    );
}

#[test]
fn of_a_hold_nothing_lasts_but_refusing() {
    let held = assigned(hold(&["blue"]), NOW);
    let refusing = assigned(Route::Refuse, NOW);
    assert_ne!(held.body, refusing.body);
    assert_eq!(outlasting(held.body), Ok(refusing.body.clone()));
    for lasting in [refusing, assigned(serve(&["green"], &["blue"]), NOW)] {
        assert_eq!(outlasting(lasting.body.clone()), Ok(lasting.body));
    }
    assert!(outlasting(Bytes::from_static(b"\xff")).is_err());
}
