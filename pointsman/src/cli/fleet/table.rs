use pointsman_proto::v1::{
    AccessDenial, FleetStatusResponse, Node, NodeUsage, Probe, SidecarCache,
};
use pointsman_xds::ResourceType;

use crate::cli::output::{Columns, ms, number};

/// A row per sidecar, and a column per type that any of them subscribes to.
pub(super) fn of(status: &FleetStatusResponse) -> String {
    let types = types(status);
    let has_members = status.nodes.iter().any(|node| !node.group.is_empty());
    let mut header = vec!["NODE", "LISTEN"];
    if has_members {
        header.extend(["GROUP", "LEASE"]);
    }
    header.push("STATE");
    header.extend(&types);
    header.extend(["ACK", "LAST"]);
    let has_caches = !status.caches.is_empty();
    if has_caches {
        header.push("CACHE");
    }
    header.extend(["SESSIONS", "PARKED", "FAILURES", "MESSAGE"]);
    let mut table = Columns::new(header);
    for node in &status.nodes {
        let usage = node.usage.clone().unwrap_or_default();
        let mut row = vec![node.node.clone(), node.listen.clone()];
        if has_members {
            row.extend([&node.group, &node.lease].map(|text| dashed(text)));
        }
        row.push(node.state.clone());
        row.extend(types.iter().map(|of_type| state(node, of_type)));
        row.extend([
            node.ack_us.map_or_else(dash, |us| format!("{} ms", ms(us))),
            node.acked_ms_ago
                .map_or_else(dash, |ms| format!("{} ago", age(ms))),
        ]);
        if has_caches {
            row.push(cached(status, &node.node));
        }
        row.extend([
            number(usage.sessions),
            number(usage.parked),
            number(usage.connect_failures),
            message(node, &usage),
        ]);
        table.row(row);
    }
    let mut text = format!("{table}\n{}", summary(status));
    let is_here = |cache: &SidecarCache| status.nodes.iter().any(|node| node.node == cache.node);
    for cache in status.caches.iter().filter(|cache| !is_here(cache)) {
        text.push_str(&alone(cache));
    }
    for denial in &status.access_denials {
        text.push_str(&denied(denial));
    }
    text
}

/// The cache of a sidecar that has no row.
fn alone(cache: &SidecarCache) -> String {
    let SidecarCache { node, peer, .. } = cache;
    format!("\na cache of {node} is connected from {peer}, and {node} is not here")
}

/// When the cache beside a sidecar last asked.
fn cached(status: &FleetStatusResponse, node: &str) -> String {
    let caches = status.caches.iter().filter(|cache| cache.node == node);
    let ages = caches.clone().map(|cache| cache.asked_ms_ago);
    let Some(newest) = ages.min() else {
        return dash();
    };
    match caches.count() {
        1 => format!("{} ago", age(newest)),
        several => format!("{} ago ({several} of them)", age(newest)),
    }
}

fn denied(denial: &AccessDenial) -> String {
    let AccessDenial {
        principal,
        reason,
        count,
        ..
    } = denial;
    let times = match count {
        1 => "once".to_owned(),
        more => format!("{more} times"),
    };
    format!("\ndenied {times}: {principal}: {reason}")
}

/// The subscribed types, in the order in which a change is sent.
fn types(status: &FleetStatusResponse) -> Vec<&'static str> {
    let subscribed = |wanted: &str| {
        let mut nodes = status.nodes.iter().flat_map(|node| &node.types);
        nodes.any(|of_type| of_type.r#type == wanted)
    };
    let services = ResourceType::ALL.map(ResourceType::service);
    services
        .into_iter()
        .filter(|service| subscribed(service))
        .collect()
}

/// What it acknowledged, what it reports, and the servers that it tries.
fn message(node: &Node, usage: &NodeUsage) -> String {
    let canary = if node.canary { "canary" } else { "" };
    let mut parts = vec![canary.to_owned(), shortened(&node.message)];
    // That a disconnected sidecar does not report needs no mention.
    if node.connected {
        parts.push(usage.unknown.clone());
    }
    parts.extend(usage.probes.iter().map(|probe| {
        let Probe {
            database,
            server,
            result,
        } = probe;
        format!("{server} by probe.{database}: {result}")
    }));
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

fn state(node: &Node, of_type: &str) -> String {
    let own = node.types.iter().find(|own| own.r#type == of_type);
    own.map_or_else(dash, |own| own.state.clone())
}

fn summary(status: &FleetStatusResponse) -> String {
    let awaited = |node: &&Node| node.registered || !node.lease.is_empty();
    let awaited = status.nodes.iter().filter(awaited);
    let all = awaited.clone().count();
    let synced = awaited
        .clone()
        .filter(|node| node.state == "SYNCED")
        .count();
    match awaited.filter(|node| !node.registered).count() {
        0 if all == 1 => format!("{synced} of 1 registered sidecar SYNCED"),
        0 => format!("{synced} of {all} registered sidecars SYNCED"),
        members => format!(
            "{synced} of {all} sidecars SYNCED ({} registered, {members} members of groups)",
            all - members
        ),
    }
}

/// One line, cut in its middle: the resource is at the beginning, and the reason at the end. `fleet show` and
/// JSON have the whole message.
fn shortened(message: &str) -> String {
    let line = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let length = line.chars().count();
    if length <= BEGINNING + END {
        return line;
    }
    let beginning: String = line.chars().take(BEGINNING).collect();
    let end: String = line.chars().skip(length - END).collect();
    format!("{beginning}…{end}")
}

fn dashed(text: &str) -> String {
    match text {
        "" => dash(),
        text => text.to_owned(),
    }
}

fn dash() -> String {
    "-".to_owned()
}

pub(super) fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// How many characters of a message are kept.
const BEGINNING: usize = 60;
const END: usize = 100;

#[cfg(test)]
mod tests {
    use pointsman_proto::v1::NodeType;

    use super::*;

    fn node(node: &str, state: &str, message: &str, types: &[(&str, &str)]) -> Node {
        Node {
            node: node.to_owned(),
            listen: "127.0.0.11".to_owned(),
            registered: state != "UNREGISTERED",
            connected: !types.is_empty(),
            state: state.to_owned(),
            message: message.to_owned(),
            types: types
                .iter()
                .map(|(of_type, state)| NodeType {
                    r#type: (*of_type).to_owned(),
                    state: (*state).to_owned(),
                    ..NodeType::default()
                })
                .collect(),
            ..Node::default()
        }
    }

    #[test]
    fn the_table_counts_the_registered_fleet() {
        let synced = [("CDS", "SYNCED"), ("EDS", "SYNCED"), ("LDS", "SYNCED")];
        let status = FleetStatusResponse {
            nodes: vec![
                Node {
                    acked_ms_ago: Some(412),
                    ack_us: Some(1_240),
                    canary: true,
                    usage: Some(NodeUsage {
                        sessions: Some(7),
                        parked: Some(3),
                        connect_failures: Some(0),
                        probes: vec![Probe {
                            database: "orders".to_owned(),
                            server: "green".to_owned(),
                            result: "reached".to_owned(),
                        }],
                        ..NodeUsage::default()
                    }),
                    ..node("app-1", "SYNCED", "", &synced)
                },
                node("app-2", "ABSENT", "registered and not connected", &[]),
                Node {
                    acked_ms_ago: Some(95_000),
                    ack_us: Some(800),
                    ..node(
                        "app-3",
                        "NACKED",
                        "LDS writer.orders: Error adding/updating listener(s) writer.orders: \
                         cannot bind '127.0.0.11:6432': Address already in use",
                        &[("CDS", "SYNCED"), ("LDS", "NACKED"), ("RTDS", "SYNCED")],
                    )
                },
                Node {
                    usage: Some(NodeUsage {
                        unknown: "it has not reported for 12 s".to_owned(),
                        ..NodeUsage::default()
                    }),
                    ..node(
                        "stray",
                        "UNREGISTERED",
                        "connected, and nobody registered it",
                        &synced,
                    )
                },
            ],
            access_denials: vec![AccessDenial {
                principal: "spiffe://example.org/pointsman/sidecar/app-1".to_owned(),
                reason: "it said that it is app-2".to_owned(),
                count: 2,
                ..AccessDenial::default()
            }],
            ..FleetStatusResponse::default()
        };
        insta::assert_snapshot!(of(&status));
    }

    #[test]
    fn members_are_shown_with_their_group_and_their_lease() {
        let member = |name: &str, state: &str, lease: &str| Node {
            registered: false,
            group: "orders".to_owned(),
            lease: lease.to_owned(),
            ..node(name, state, "", &[])
        };
        let status = FleetStatusResponse {
            nodes: vec![
                node("app-1", "SYNCED", "", &[]),
                member("orders/web@pod-1", "SYNCED", "held"),
                member("orders/web@pod-2", "ABSENT", "ends in 900 ms"),
            ],
            ..FleetStatusResponse::default()
        };
        insta::assert_snapshot!(of(&status));
    }

    #[test]
    fn a_cache_is_shown_beside_its_sidecar_with_the_age_of_what_it_keeps() {
        let cache = |node: &str, asked_ms_ago| SidecarCache {
            node: node.to_owned(),
            peer: "10.0.0.5:41234".to_owned(),
            asked_ms_ago,
            ..SidecarCache::default()
        };
        let mut status = FleetStatusResponse {
            nodes: vec![
                node("app-1", "ABSENT", "", &[]),
                node("app-2", "SYNCED", "", &[]),
            ],
            ..FleetStatusResponse::default()
        };
        assert!(!of(&status).contains("CACHE"));
        status.caches = vec![
            cache("app-1", 95_000),
            cache("app-1", 12_000),
            cache("app-3", 1),
        ];
        let text = of(&status);
        let row = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
        assert!(row("NODE").contains("CACHE"), "{text}");
        assert!(row("app-1").contains("12 s ago (2 of them)"), "{text}");
        assert!(!row("app-2").contains("ago"), "{text}");
        let last = text.lines().last().unwrap();
        assert!(last.contains("app-3 is not here"), "{text}");
    }

    #[test]
    fn a_message_is_cut_in_its_middle_between_characters() {
        assert_eq!(shortened("no"), "no");
        assert_eq!(shortened("one\ntwo"), "one two");
        assert_eq!(shortened(&"ü".repeat(160)), "ü".repeat(160));
        let long = format!("LDS {}: Address already in use", "ü".repeat(200));
        let short = shortened(&long);
        assert!(short.starts_with("LDS ü") && short.ends_with("ü: Address already in use"));
        assert_eq!(short.chars().count(), 161);
    }
}
