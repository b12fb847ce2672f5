use pointsman_proto::v1::{Delivery, Node, NodeNack, NodeRecord, SidecarCache};

use super::table::age;
use crate::cli::{
    entitlement::listed,
    output::{Columns, clock, ms},
};

/// Everything about one sidecar.
pub(super) fn text(record: &NodeRecord) -> String {
    let node = record.node.clone().unwrap_or_default();
    let mut parts = vec![facts(record, &node)];
    if !record.deliveries.is_empty() {
        parts.push(deliveries(record, &node));
    }
    if !record.nacks.is_empty() {
        parts.push(nacks(record, &node));
    }
    parts.join("\n\n")
}

fn facts(record: &NodeRecord, node: &Node) -> String {
    let mut lines = vec![format!("{}: {}", node.node, node.state)];
    if !node.message.is_empty() {
        lines.push(format!("  {}", node.message));
    }
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("  {name:<10} {value}"));
        }
    };
    let registered = match (node.registered, record.retired_ms) {
        (true, _) if node.canary => "yes, as a canary".to_owned(),
        (true, _) => "yes".to_owned(),
        (false, _) if !node.group.is_empty() => String::new(),
        (false, Some(at)) => format!("no, retired {}", clock(at)),
        (false, None) => "no".to_owned(),
    };
    fact("registered", registered);
    fact("group", node.group.clone());
    fact("identity", node.identity.clone());
    fact("lease", node.lease.clone());
    fact("listen", node.listen.clone());
    let databases = node.databases.as_ref();
    fact("databases", listed(databases));
    let connected = record.connected_ms.map_or_else(String::new, |since| {
        let from = node.peers.join(", ");
        format!("since {}, from {from}", clock(since))
    });
    fact("connected", connected);
    let gone = record.gone_ms.map_or_else(String::new, |at| {
        format!("{}, from {}", clock(at), node.peers.join(", "))
    });
    fact("gone", gone);
    fact(
        "client",
        format!("{} {}", record.user_agent, record.version)
            .trim()
            .to_owned(),
    );
    let synced_to = node.synced_to.map(|publish| format!("publish {publish}"));
    fact("synced to", synced_to.unwrap_or_default());
    for cache in &record.caches {
        fact("cache", cached(cache));
    }
    if !node.connected {
        fact("served by", UNKNOWN.to_owned());
    }
    lines.join("\n")
}

fn cached(cache: &SidecarCache) -> String {
    let SidecarCache {
        peer,
        version,
        since_ms,
        asked_ms_ago,
        ..
    } = cache;
    format!(
        "since {}, from {peer}, version {version}, asked {} ago",
        clock(*since_ms),
        age(*asked_ms_ago)
    )
}

/// A sidecar that is connected is served by the control plane; of another one nobody tells.
const UNKNOWN: &str = "not known: it may have ended, be cut off, or have started from a cache";

fn deliveries(record: &NodeRecord, node: &Node) -> String {
    let header = [
        "TYPE", "STATE", "SENT", "PUBLISH", "ACKED", "PUBLISH", "ACK", "REFUSED",
    ];
    let mut table = Columns::new(header.to_vec());
    for delivery in &record.deliveries {
        table.row(delivered(delivery, node));
    }
    table.to_string()
}

fn delivered(delivery: &Delivery, node: &Node) -> Vec<String> {
    let dash = || "-".to_owned();
    let own = node.types.iter().find(|own| own.r#type == delivery.r#type);
    let number = |at: Option<u64>, number: u64| at.map_or_else(dash, |_| number.to_string());
    vec![
        delivery.r#type.clone(),
        own.map_or_else(dash, |own| own.state.clone()),
        delivery.sent_ms.map_or_else(dash, clock),
        number(delivery.sent_ms, delivery.sent),
        delivery.acked_ms.map_or_else(dash, clock),
        number(delivery.acked_ms, delivery.acked),
        delivery
            .acked_ms
            .map_or_else(dash, |_| format!("{} ms", ms(delivery.ack_us))),
        delivery.nacked_ms.map_or_else(dash, clock),
    ]
}

fn nacks(record: &NodeRecord, node: &Node) -> String {
    let shown = record.nacks.len();
    let mut lines = vec![match node.nacks {
        all if all > shown as u64 => format!("refused {all} times, the last {shown}:"),
        1 => "refused once:".to_owned(),
        all => format!("refused {all} times:"),
    }];
    lines.extend(record.nacks.iter().map(nack));
    lines.join("\n")
}

fn nack(nack: &NodeNack) -> String {
    let more = nack.count - nack.count.min(nack.resources.len() as u64);
    let mut resources = nack.resources.join(", ");
    if more > 0 {
        resources = format!("{resources} and {more} more");
    }
    format!(
        "  {}  {} of publish {}: {resources}\n    {}",
        clock(nack.at_ms),
        nack.r#type,
        nack.publish,
        nack.reason.replace('\n', "\n    ")
    )
}

#[cfg(test)]
mod tests {
    use pointsman_proto::v1::NodeType;

    use super::*;

    #[test]
    fn a_sidecar_is_shown_with_what_it_was_sent_and_refused() {
        let at = 1_700_000_000_123;
        let record = NodeRecord {
            node: Some(Node {
                node: "app-1".to_owned(),
                listen: "127.0.0.11".to_owned(),
                registered: true,
                state: "NACKED".to_owned(),
                message: "LDS writer.orders: cannot bind".to_owned(),
                types: vec![NodeType {
                    r#type: "LDS".to_owned(),
                    state: "NACKED".to_owned(),
                    ..NodeType::default()
                }],
                connected: true,
                peers: vec!["10.0.0.5:41234".to_owned()],
                synced_to: Some(41),
                nacks: 12,
                canary: true,
                ..Node::default()
            }),
            user_agent: "envoy".to_owned(),
            version: "1.40.0".to_owned(),
            connected_ms: Some(at - 60_000),
            deliveries: vec![
                Delivery {
                    r#type: "EDS".to_owned(),
                    sent_ms: Some(at - 500),
                    sent: 41,
                    acked_ms: Some(at - 499),
                    acked: 41,
                    ack_us: 1_240,
                    ..Delivery::default()
                },
                Delivery {
                    r#type: "LDS".to_owned(),
                    sent_ms: Some(at),
                    sent: 42,
                    nacked_ms: Some(at + 2),
                    ..Delivery::default()
                },
            ],
            nacks: vec![NodeNack {
                r#type: "LDS".to_owned(),
                publish: 42,
                at_ms: at + 2,
                reason: "cannot bind\nAddress already in use".to_owned(),
                resources: vec!["writer.orders".to_owned()],
                count: 3,
            }],
            ..NodeRecord::default()
        };
        insta::assert_snapshot!(text(&record));
    }

    #[test]
    fn of_an_absent_sidecar_its_cache_is_shown_and_who_serves_it_is_not_known() {
        let mut record = NodeRecord {
            node: Some(Node {
                node: "app-1".to_owned(),
                state: "ABSENT".to_owned(),
                ..Node::default()
            }),
            caches: vec![SidecarCache {
                node: "app-1".to_owned(),
                peer: "10.0.0.5:41235".to_owned(),
                version: "0.1.0".to_owned(),
                since_ms: 1_700_000_000_123,
                asked_ms_ago: 12_345,
            }],
            ..NodeRecord::default()
        };
        let shown = text(&record);
        for part in [
            "from 10.0.0.5:41235, version 0.1.0, asked 12 s ago",
            UNKNOWN,
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        record.node.as_mut().unwrap().connected = true;
        assert!(!text(&record).contains(UNKNOWN));
    }
}
