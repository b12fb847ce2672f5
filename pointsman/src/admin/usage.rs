//! What sidecars report, as messages.

use pointsman_catalog::{Database, NodeId, Role};
use pointsman_proto::v1;

use super::context::AdminContext;
use crate::telemetry::{EndpointUsage, Freshness, NodeUsage, ProbeResult, RouteUsage};

/// The connections of `node`, over all databases.
pub(super) fn of_node(admin: &AdminContext, node: &str) -> v1::NodeUsage {
    let Ok(node) = NodeId::new(node) else {
        return v1::NodeUsage::default();
    };
    let usage = admin.tracker.usage(&node);
    let mut message = v1::NodeUsage {
        unknown: unknown(usage.as_ref()),
        probes: probes(admin, &node),
        left_out: usage.as_ref().map_or(0, |usage| usage.left_out),
        ..v1::NodeUsage::default()
    };
    if let Some(usage) = usage.filter(|usage| usage.freshness == Freshness::Fresh) {
        let sum = |count: fn(&RouteUsage) -> u64| usage.routes.values().map(count).sum();
        message.sessions = Some(sum(|route| route.sessions));
        message.parked = Some(sum(|route| route.parked));
        message.connect_failures = Some(sum(|route| route.connect_failures));
    }
    message
}

/// Both routes of `database` on every sidecar that is registered or connected.
pub(super) fn of_database(admin: &AdminContext, database: &Database) -> Vec<v1::RouteUsage> {
    let nodes = admin.publishing.view.nodes().into_iter();
    let nodes = nodes.filter_map(|view| NodeId::new(view.id).ok());
    nodes
        .flat_map(|node| {
            let usage = admin
                .tracker
                .usage_of(&node, std::slice::from_ref(&database.name));
            [Role::Writer, Role::Reader].map(|role| of_route(admin, database, &node, role, &usage))
        })
        .collect()
}

fn of_route(
    admin: &AdminContext,
    database: &Database,
    node: &NodeId,
    role: Role,
    usage: &Option<NodeUsage>,
) -> v1::RouteUsage {
    let mut message = v1::RouteUsage {
        node: node.to_string(),
        role: match role {
            Role::Writer => "writer",
            Role::Reader => "reader",
        }
        .to_owned(),
        unknown: unknown(usage.as_ref()),
        ..v1::RouteUsage::default()
    };
    let fresh = usage
        .as_ref()
        .filter(|usage| usage.freshness == Freshness::Fresh);
    let Some(usage) = fresh else {
        return message;
    };
    let Some(route) = usage.route(&database.name, role) else {
        "it has not reported on this route yet".clone_into(&mut message.unknown);
        return message;
    };
    let RouteUsage {
        sessions,
        parked,
        connect_failures,
        last_failure,
        connect_time,
        session_time,
        endpoints,
        unplaced,
    } = route;
    message.sessions = Some(*sessions);
    message.parked = Some(*parked);
    message.connect_failures = Some(*connect_failures);
    message.unplaced = Some(*unplaced);
    if let Some((endpoint, reason)) = last_failure {
        message.last_failure = format!("{endpoint}: {reason}");
    }
    message.connect_us = connect_time.map(|time| whole(time.as_micros()));
    message.session_ms = session_time.map(|time| whole(time.as_millis()));
    message.endpoints = endpoints
        .iter()
        .map(|(address, usage)| {
            let EndpointUsage {
                sessions,
                received_bytes,
                sent_bytes,
            } = *usage;
            let server = admin.publishing.addresses.server_at(*address);
            v1::EndpointUsage {
                address: address.to_string(),
                server: server.map_or_else(String::new, String::from),
                sessions,
                received_bytes,
                sent_bytes,
            }
        })
        .collect();
    message
}

/// What `node` says of the servers that it was asked to try.
fn probes(admin: &AdminContext, node: &NodeId) -> Vec<v1::Probe> {
    let publishing = &admin.publishing;
    let scheduled = publishing.probes.scheduled().into_iter();
    scheduled
        .filter(|(database, _)| publishing.registry.sees(node, database))
        .map(|(database, probe)| v1::Probe {
            result: match admin.tracker.probe_result(node, &database, probe.since) {
                Some(ProbeResult::Reached) => "reached",
                Some(ProbeResult::FailedOnce) => "failed once",
                Some(ProbeResult::NotReached) => "not reached",
                None => "unknown",
            }
            .to_owned(),
            database: database.to_string(),
            server: probe.server.to_string(),
        })
        .collect()
}

/// Why the numbers are unknown; empty while they are known.
fn unknown(usage: Option<&NodeUsage>) -> String {
    match usage {
        Some(usage) => usage.unknown().unwrap_or_default(),
        None => "it has not reported yet".to_owned(),
    }
}

fn whole(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
