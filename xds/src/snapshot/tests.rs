use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message as _;

use super::*;
use crate::fixture::{assignment, eds_cluster, eds_cluster_of_service};

fn names(snapshot: &Snapshot) -> Vec<&str> {
    let endpoints = snapshot.set(ResourceType::Endpoints);
    endpoints
        .iter()
        .map(|resource| &**resource.name())
        .collect()
}

#[test]
fn x47_an_eds_cluster_without_endpoints_gets_an_empty_assignment() {
    let snapshot = Snapshot::builder()
        .insert(eds_cluster("a", 1))
        .insert(eds_cluster_of_service("b", "service"))
        .insert(assignment("a", 5432))
        .build()
        .unwrap();
    assert_eq!(names(&snapshot), ["a", "service"]);
    let filled = snapshot
        .set(ResourceType::Endpoints)
        .get("service")
        .unwrap();
    let filled = ClusterLoadAssignment::decode(filled.body().clone()).unwrap();
    assert_eq!(filled.cluster_name, "service");
    assert!(filled.endpoints.is_empty());
}

#[test]
fn an_edited_snapshot_is_completed_like_one_made_anew() {
    let first = Snapshot::builder()
        .extend([eds_cluster("a", 1), eds_cluster_of_service("b", "a")])
        .build()
        .unwrap();
    let one_left = first
        .to_builder()
        .remove(ResourceType::Cluster, "a")
        .build()
        .unwrap();
    assert_eq!(names(&one_left), ["a"]);
    let none_left = one_left
        .to_builder()
        .remove(ResourceType::Cluster, "b")
        .build()
        .unwrap();
    assert!(names(&none_left).is_empty());
    let real = first
        .to_builder()
        .insert(assignment("a", 1))
        .build()
        .unwrap();
    let kept = real
        .to_builder()
        .remove(ResourceType::Cluster, "a")
        .remove(ResourceType::Cluster, "b")
        .build()
        .unwrap();
    assert_eq!(names(&kept), ["a"]);
    let gone = real
        .to_builder()
        .remove(ResourceType::Endpoints, "a")
        .build()
        .unwrap();
    let version = |snapshot: &Snapshot| snapshot.set(ResourceType::Endpoints).version();
    assert_eq!(version(&gone), version(&first));
    let more = real
        .to_builder()
        .insert(eds_cluster("c", 1))
        .build()
        .unwrap();
    assert_eq!(names(&more), ["a", "c"]);
}

#[test]
fn an_edit_replaces_and_leaves_every_other_set_as_it_is() {
    let first = Snapshot::builder()
        .extend([eds_cluster("a", 1), assignment("a", 1)])
        .build()
        .unwrap();
    let next = first
        .to_builder()
        .insert(assignment("a", 2))
        .build()
        .unwrap();
    let same = |kind| Arc::ptr_eq(first.set(kind), next.set(kind));
    assert!(same(ResourceType::Cluster) && same(ResourceType::Listener));
    let found = next.set(ResourceType::Endpoints).get("a");
    assert_eq!(found, Some(&assignment("a", 2)));
}

#[test]
fn a_shared_set_stays_one_object() {
    let set = Arc::new(ResourceSet::new(ResourceType::Endpoints, [assignment("a", 1)]).unwrap());
    let snapshot = Snapshot::builder()
        .share(Arc::clone(&set))
        .insert(eds_cluster("a", 1))
        .build()
        .unwrap();
    assert!(Arc::ptr_eq(snapshot.set(ResourceType::Endpoints), &set));
}

#[test]
fn a_snapshot_with_a_name_twice_does_not_build() {
    let twice = [assignment("a", 1), assignment("a", 2)];
    let anew = Snapshot::builder()
        .extend(twice.clone())
        .build()
        .unwrap_err();
    assert_eq!(
        anew.to_string(),
        "the resources do not make a snapshot: two resources of type \
         ClusterLoadAssignment are called a"
    );
    let empty = Snapshot::builder().build().unwrap();
    assert!(empty.to_builder().extend(twice).build().is_err());
}
