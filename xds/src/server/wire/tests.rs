use envoy_types::pb::envoy::{
    config::core::v3::{Extension, Node},
    service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
};

use super::*;
use crate::{
    fixture::{assignment, eds_cluster, opaque},
    node::{NodeDescription, NodeId},
    resource::Resource,
    server::grpc,
};

fn whole(mut chunks: Chunks) -> Vec<u8> {
    let mut message = Vec::new();
    while let Some(chunk) = chunks.take(usize::MAX) {
        message.extend_from_slice(&chunk);
    }
    let length = message.len() - grpc::PREFIX;
    let length = u32::try_from(length).unwrap().to_be_bytes();
    assert_eq!(message[..grpc::PREFIX], [&[0], &length[..]].concat());
    message.split_off(grpc::PREFIX)
}

fn response(resources: Vec<Resource>) -> Response {
    Response {
        kind: resources[0].kind(),
        nonce: "start-7".into(),
        version: resources[0].version(),
        resources: resources.into(),
        removed: vec!["gone".into()],
        absent: Vec::new(),
        heartbeat: false,
        ttl: false,
    }
}

#[test]
fn a_delta_response_is_what_the_protocol_says_small_or_large() {
    let control_plane = control_plane("instance");
    for count in [1, 100] {
        let resources: Vec<_> = (0..count).map(|port| assignment("a", port)).collect();
        let mut response = response(resources.clone());
        response.absent = vec!["absent".into()];
        let encoded = whole(Delta::encode(&response, &control_plane));
        let decoded = DeltaDiscoveryResponse::decode(&*encoded).unwrap();
        assert_eq!(decoded.system_version_info, response.version.to_string());
        assert_eq!(decoded.type_url, response.kind.type_url());
        assert_eq!(decoded.nonce, "start-7");
        assert_eq!(decoded.removed_resources, ["gone"]);
        assert_eq!(decoded.control_plane.unwrap().identifier, "instance");
        let (absent, present) = decoded.resources.split_last().unwrap();
        assert_eq!(absent.name, "absent");
        assert_eq!(absent.aliases, ["absent"]);
        assert_eq!(absent.resource, None);
        assert_eq!(present.len(), resources.len());
        for (entry, resource) in present.iter().zip(&resources) {
            assert_eq!(entry.name, **resource.name());
            assert_eq!(entry.version, resource.version().to_string());
            let any = entry.resource.as_ref().unwrap();
            assert_eq!(any.type_url, resource.kind().type_url());
            assert_eq!(any.value, resource.body()[..]);
        }
    }
}

#[test]
fn a_state_of_the_world_response_is_what_the_protocol_says() {
    let response = response(vec![eds_cluster("a", 1)]);
    let control_plane = control_plane("instance");
    let encoded = whole(StateOfTheWorld::encode(&response, &control_plane));
    let decoded = DiscoveryResponse::decode(&*encoded).unwrap();
    assert_eq!(decoded.version_info, response.version.to_string());
    assert_eq!(decoded.nonce, "start-7");
    assert_eq!(decoded.control_plane.unwrap().identifier, "instance");
    assert_eq!(decoded.resources[0].type_url, decoded.type_url);
    assert_eq!(decoded.resources[0].value, response.resources[0].body()[..]);
}

#[test]
fn a_request_is_read_as_far_as_it_counts() {
    let full = Node {
        id: "sidecar".to_owned(),
        extensions: vec![Extension::default(); 100],
        ..Node::default()
    };
    let id = NodeId::from("sidecar");
    let request = DeltaDiscoveryRequest {
        node: Some(full.clone()),
        type_url: "type".to_owned(),
        response_nonce: "nonce".to_owned(),
        resource_names_subscribe: vec!["a".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    let encoded = request.encode_to_vec();
    assert_eq!(NodeDescription::read(&encoded, Delta::NODE).unwrap().id, id);
    let read = DeltaRequestWire::decode(&*encoded).unwrap();
    assert_eq!(Delta::type_url(&read), "type");
    let request = DiscoveryRequest {
        node: Some(full),
        type_url: "type".to_owned(),
        ..DiscoveryRequest::default()
    };
    let encoded = request.encode_to_vec();
    let node = NodeDescription::read(&encoded, StateOfTheWorld::NODE);
    assert_eq!(node.unwrap().id, id);
    let read = SotwRequestWire::decode(&*encoded).unwrap();
    assert_eq!(StateOfTheWorld::type_url(&read), "type");
}

#[test]
fn x08_every_any_has_the_type_of_its_response() {
    let control_plane = control_plane("instance");
    for resource in ResourceType::ALL.map(|kind| opaque(kind, "a", "1")) {
        let response = response(vec![resource]);
        let encoded = whole(Delta::encode(&response, &control_plane));
        let delta = DeltaDiscoveryResponse::decode(&*encoded).unwrap();
        let any = delta.resources[0].resource.as_ref().unwrap();
        assert_eq!(any.type_url, delta.type_url);
        let encoded = whole(StateOfTheWorld::encode(&response, &control_plane));
        let sotw = DiscoveryResponse::decode(&*encoded).unwrap();
        assert_eq!(sotw.resources[0].type_url, sotw.type_url);
        assert_eq!(sotw.type_url, response.kind.type_url());
    }
}

#[test]
fn x53_a_response_names_the_serving_instance() {
    let control_plane = control_plane("instance");
    let response = response(vec![assignment("a", 1)]);
    let encoded = whole(Delta::encode(&response, &control_plane));
    let delta = DeltaDiscoveryResponse::decode(&*encoded).unwrap();
    assert_eq!(delta.control_plane.unwrap().identifier, "instance");
    let encoded = whole(StateOfTheWorld::encode(&response, &control_plane));
    let sotw = DiscoveryResponse::decode(&*encoded).unwrap();
    assert_eq!(sotw.control_plane.unwrap().identifier, "instance");
}

#[test]
fn x54_no_errors_of_single_resources_are_sent() {
    let control_plane = control_plane("instance");
    let response = response(vec![assignment("a", 1)]);
    let encoded = whole(Delta::encode(&response, &control_plane));
    let delta = DeltaDiscoveryResponse::decode(&*encoded).unwrap();
    assert!(delta.resource_errors.is_empty());
    let encoded = whole(StateOfTheWorld::encode(&response, &control_plane));
    let sotw = DiscoveryResponse::decode(&*encoded).unwrap();
    assert!(sotw.resource_errors.is_empty());
}
