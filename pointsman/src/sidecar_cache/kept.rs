//! Everything that one sidecar is to have.

use std::{collections::BTreeMap, fmt};

use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as DiscoveryResource},
    google::protobuf::Any,
};
use pointsman_envoy_config::outlasting;
use pointsman_xds::{Resource, ResourceType, Snapshot, SnapshotError};

/// The resources of one sidecar, by type and name. What they say is not looked at, apart from the time
/// at which a load assignment ends: it is kept as it is after that, so that no hold is kept.
#[derive(Clone, Default, PartialEq)]
pub(super) struct Kept {
    resources: BTreeMap<(ResourceType, String), Vec<u8>>,
    /// Of all names and messages.
    bytes: usize,
}

/// Why a response cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("{0:?} is no type that a sidecar's cache can keep: it is of another version")]
    Type(String),
    #[error("{kind} {name:?} cannot be read: {source}")]
    Unreadable {
        kind: ResourceType,
        name: String,
        source: prost::DecodeError,
    },
    #[error("what the sidecar is to have takes more than {} MiB, which is more than is kept", Kept::MAX_BYTES >> 20)]
    Large,
}

impl Kept {
    /// The most that is kept, in bytes. A database takes about 3 kB.
    pub(super) const MAX_BYTES: usize = 64 << 20;

    /// Takes in what has changed, and returns of which type it is.
    pub(super) fn apply(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Result<ResourceType, KeepError> {
        let kind = ResourceType::from_type_url(&response.type_url)
            .ok_or_else(|| KeepError::Type(response.type_url.clone()))?;
        for name in response.removed_resources {
            self.remove(kind, name);
        }
        for DiscoveryResource { name, resource, .. } in response.resources {
            // Without a body it is a heartbeat.
            if let Some(body) = resource {
                self.insert(kind, name, body.value)?;
            }
        }
        Ok(kind)
    }

    /// The same as one message for each type.
    pub(super) fn messages(&self) -> Vec<DeltaDiscoveryResponse> {
        let mut messages: Vec<DeltaDiscoveryResponse> = Vec::new();
        for ((kind, name), body) in &self.resources {
            let type_url = kind.type_url().to_owned();
            if messages.last().is_none_or(|last| last.type_url != type_url) {
                messages.push(DeltaDiscoveryResponse {
                    type_url: type_url.clone(),
                    ..DeltaDiscoveryResponse::default()
                });
            }
            let resource = DiscoveryResource {
                name: name.clone(),
                resource: Some(Any {
                    type_url,
                    value: body.clone(),
                }),
                ..DiscoveryResource::default()
            };
            if let Some(last) = messages.last_mut() {
                last.resources.push(resource);
            }
        }
        messages
    }

    /// What sidecars are served.
    pub(super) fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        let resources = self
            .resources
            .iter()
            .map(|((kind, name), body)| Resource::new(*kind, name.as_str(), body.clone().into()));
        Snapshot::builder().extend(resources).build()
    }

    pub(super) fn len(&self) -> usize {
        self.resources.len()
    }

    fn insert(&mut self, kind: ResourceType, name: String, body: Vec<u8>) -> Result<(), KeepError> {
        let body = match kind {
            ResourceType::Endpoints => match outlasting(body.into()) {
                Ok(body) => body.into(),
                Err(source) => {
                    return Err(KeepError::Unreadable { kind, name, source });
                }
            },
            ResourceType::Cluster
            | ResourceType::Extension
            | ResourceType::Listener
            | ResourceType::ScopedRoute
            | ResourceType::Route
            | ResourceType::VirtualHost
            | ResourceType::Secret
            | ResourceType::Runtime => body,
        };
        let size = name.len() + body.len();
        let former = self.resources.insert((kind, name.clone()), body);
        self.bytes += size;
        if let Some(former) = former {
            self.bytes -= name.len() + former.len();
        }
        if self.bytes > Self::MAX_BYTES {
            return Err(KeepError::Large);
        }
        Ok(())
    }

    fn remove(&mut self, kind: ResourceType, name: String) {
        let size = name.len();
        if let Some(former) = self.resources.remove(&(kind, name)) {
            self.bytes -= size + former.len();
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("resources", &self.resources.len())
            .field("bytes", &self.bytes)
            .finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use envoy_types::pb::{
        envoy::config::endpoint::v3::{
            ClusterLoadAssignment, LocalityLbEndpoints, cluster_load_assignment::Policy,
        },
        google::protobuf::Duration,
    };
    use prost::Message as _;

    use super::*;

    pub(in crate::sidecar_cache) fn response(
        kind: ResourceType,
        resources: &[(&str, &[u8])],
        removed: &[&str],
    ) -> DeltaDiscoveryResponse {
        let resources = resources.iter().map(|(name, body)| DiscoveryResource {
            name: (*name).to_owned(),
            resource: Some(Any {
                type_url: kind.type_url().to_owned(),
                value: body.to_vec(),
            }),
            ..DiscoveryResource::default()
        });
        DeltaDiscoveryResponse {
            type_url: kind.type_url().to_owned(),
            resources: resources.collect(),
            removed_resources: removed.iter().map(|&name| name.to_owned()).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn changes_add_up_to_what_the_sidecar_is_to_have() {
        let mut kept = Kept::default();
        let kind = ResourceType::Runtime;
        kept.apply(response(kind, &[("a", b"1"), ("b", b"2")], &[]))
            .unwrap();
        kept.apply(response(kind, &[("b", b"22")], &["a", "c"]))
            .unwrap();
        kept.apply(response(ResourceType::Listener, &[("b", b"l")], &[]))
            .unwrap();
        let mut again = Kept::default();
        for message in kept.messages() {
            again.apply(message).unwrap();
        }
        assert_eq!(again, kept);
        assert_eq!((kept.len(), kept.bytes), (2, 5));
    }

    #[test]
    fn a_heartbeat_changes_nothing() {
        let mut kept = Kept::default();
        let kind = ResourceType::Runtime;
        kept.apply(response(kind, &[("a", b"1")], &[])).unwrap();
        let mut heartbeat = response(kind, &[("a", b"")], &[]);
        heartbeat.resources[0].resource = None;
        let before = kept.clone();
        kept.apply(heartbeat).unwrap();
        assert_eq!(kept, before);
    }

    #[test]
    fn of_a_hold_the_refusal_is_kept_that_it_ends_in() {
        let refusing = ClusterLoadAssignment {
            cluster_name: "writer.a".to_owned(),
            ..ClusterLoadAssignment::default()
        };
        let held = ClusterLoadAssignment {
            endpoints: vec![LocalityLbEndpoints::default()],
            policy: Some(Policy {
                endpoint_stale_after: Some(Duration::default()),
                ..Policy::default()
            }),
            ..refusing.clone()
        };
        let mut kept = Kept::default();
        let kind = ResourceType::Endpoints;
        kept.apply(response(kind, &[("writer.a", &held.encode_to_vec())], &[]))
            .unwrap();
        let snapshot = kept.snapshot().unwrap();
        let served = snapshot.set(kind).get("writer.a").unwrap();
        assert_eq!(*served.body(), refusing.encode_to_vec());
    }

    #[test]
    fn more_than_is_kept_is_refused() {
        let mut kept = Kept::default();
        let body = vec![0; Kept::MAX_BYTES - 1];
        let kind = ResourceType::Runtime;
        kept.apply(response(kind, &[("a", &body)], &[])).unwrap();
        kept.apply(response(kind, &[("a", &body)], &[])).unwrap();
        let more = kept.apply(response(kind, &[("b", b"")], &[]));
        assert!(matches!(more, Err(KeepError::Large)), "{more:?}");
    }

    #[test]
    fn what_is_of_no_known_type_or_no_assignment_is_refused() {
        let mut kept = Kept::default();
        let mut foreign = response(ResourceType::Runtime, &[], &[]);
        foreign.type_url = "type.googleapis.com/some.Other".to_owned();
        let refused = kept.apply(foreign).unwrap_err().to_string();
        assert!(refused.contains("some.Other"), "{refused}");
        let broken = response(ResourceType::Endpoints, &[("writer.a", b"\xff")], &[]);
        let refused = kept.apply(broken).unwrap_err().to_string();
        assert!(refused.contains("writer.a"), "{refused}");
    }
}
