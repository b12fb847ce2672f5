use std::time::UNIX_EPOCH;

use envoy_types::pb::{
    envoy::{
        admin::v3::{ClientResourceStatus, UpdateFailureState},
        config::core::v3::{Node, node::UserAgentVersionType},
        service::status::v3::{ClientConfig, ConfigStatus, client_config::GenericXdsConfig},
    },
    google::protobuf::{Any, Struct, Timestamp, Value, value::Kind},
};
use tokio::time::Instant;

use crate::{
    fleet::{NodeStatus, time_of_day},
    lease::Absence,
    resource::{Resource, ResourceType},
    snapshot::Snapshot,
    stream::{TypeState, TypeStatus},
};

/// The configuration of one node; `None` if it would have more than `limit` bytes. `snapshot` is what the
/// node must have; with it there is one entry per resource.
pub(super) fn of(
    status: &NodeStatus,
    snapshot: Option<&Snapshot>,
    limit: usize,
) -> Option<ClientConfig> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    for of_type in &status.types {
        let set = snapshot.map(|snapshot| snapshot.set(of_type.kind));
        match set.filter(|set| !set.is_empty()) {
            None => entries.push(type_entry(of_type)),
            Some(set) => {
                for resource in set.iter() {
                    bytes += resource.body().len();
                    if bytes > limit {
                        return None;
                    }
                    entries.push(resource_entry(of_type, resource));
                }
            }
        }
    }
    Some(ClientConfig {
        node: Some(node(status)),
        generic_xds_configs: entries,
        ..ClientConfig::default()
    })
}

fn node(status: &NodeStatus) -> Node {
    let mut node = Node {
        id: status.id.to_string(),
        metadata: Some(standing(status)),
        ..Node::default()
    };
    if let Some(about) = &status.about {
        node.cluster = about.cluster.to_string();
        node.user_agent_name = about.user_agent.to_string();
        let version = about.user_agent_version.to_string();
        node.user_agent_version_type = Some(UserAgentVersionType::UserAgentVersion(version));
    }
    node
}

/// What makes barriers await the node: a registration, or a lease and the milliseconds that are left
/// of it.
fn standing(status: &NodeStatus) -> Struct {
    let mut fields = vec![("registered", Kind::BoolValue(status.registered))];
    if let Some(lease) = status.lease {
        let state = match lease.absence {
            None => "held",
            Some(Absence::Silent) => "silent",
            Some(Absence::Closed) => "closed",
            Some(Absence::ClosedWithOthers) => "closed with others",
            Some(Absence::Restored) => "restored",
        };
        fields.push(("lease", Kind::StringValue(state.to_owned())));
        let left = lease.ends.map(|ends| ends - Instant::now());
        if let Some(left) = left {
            let ms = left.as_secs_f64() * 1000.0;
            fields.push(("lease_left_ms", Kind::NumberValue(ms.round())));
        }
    }
    let fields = fields.into_iter().map(|(name, kind)| {
        let value = Value { kind: Some(kind) };
        (name.to_owned(), value)
    });
    Struct {
        fields: fields.collect(),
    }
}

fn type_entry(status: &TypeStatus) -> GenericXdsConfig {
    let is_nacked = matches!(status.state, TypeState::Nacked { .. });
    let acknowledged = status.acknowledged.as_ref();
    GenericXdsConfig {
        version_info: acknowledged.map_or_else(String::new, |own| own.version.to_string()),
        ..common_fields(status, is_nacked)
    }
}

fn resource_entry(status: &TypeStatus, resource: &Resource) -> GenericXdsConfig {
    let is_nacked = match &status.state {
        // Without names, the NACK covers the whole type.
        TypeState::Nacked { resources, .. } => {
            resources.is_empty() || resources.contains(resource.name())
        }
        TypeState::NotSent | TypeState::Stale | TypeState::Lagging { .. } | TypeState::Synced => {
            false
        }
    };
    let shown = resource.kind() != ResourceType::Secret;
    GenericXdsConfig {
        name: resource.name().to_string(),
        version_info: resource.version().to_string(),
        xds_config: shown.then(|| Any {
            type_url: resource.kind().type_url().to_owned(),
            value: resource.body().to_vec(),
        }),
        ..common_fields(status, is_nacked)
    }
}

/// The common fields of a type's entries. If some resources are NACKed, the others are in use.
fn common_fields(status: &TypeStatus, is_nacked: bool) -> GenericXdsConfig {
    let acknowledged = status.acknowledged.as_ref();
    let known = match acknowledged {
        Some(_) => ClientResourceStatus::Acked,
        None => ClientResourceStatus::Requested,
    };
    let (config, client) = match status.state {
        TypeState::Nacked { .. } if is_nacked => {
            (ConfigStatus::Error, ClientResourceStatus::Nacked)
        }
        TypeState::Nacked { .. } | TypeState::Synced => (ConfigStatus::Synced, known),
        TypeState::NotSent => (ConfigStatus::NotSent, known),
        TypeState::Stale | TypeState::Lagging { .. } => (ConfigStatus::Stale, known),
    };
    let nacked = status.nacked.as_ref().filter(|_| is_nacked);
    GenericXdsConfig {
        type_url: status.kind.type_url().to_owned(),
        last_updated: acknowledged.map(|own| timestamp(own.at)),
        config_status: config.into(),
        client_status: client.into(),
        error_state: nacked.map(|nack| UpdateFailureState {
            last_update_attempt: Some(timestamp(nack.at)),
            details: nack.message.to_string(),
            ..UpdateFailureState::default()
        }),
        ..GenericXdsConfig::default()
    }
}

fn timestamp(at: Instant) -> Timestamp {
    let since = time_of_day(at)
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}
