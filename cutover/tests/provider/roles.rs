//! The roles of a server that has them all. A role that is missing fails the test.

use pointsman_cutover::ports::{
    ControlledServer, Fence, GuardedPromotion, Preparation, ProbeTable, Replication,
    ReversePublisher, ReverseSubscriber, SessionControl, WalProof,
};

pub(crate) fn sessions(server: &ControlledServer) -> &dyn SessionControl {
    server.sessions().unwrap()
}

pub(crate) fn fence(server: &ControlledServer) -> &dyn Fence {
    server.fence().unwrap()
}

pub(crate) fn replication(server: &ControlledServer) -> &dyn Replication {
    server.replication().unwrap()
}

pub(crate) fn guarded_promotion(server: &ControlledServer) -> &dyn GuardedPromotion {
    server.guarded_promotion().unwrap()
}

pub(crate) fn wal_proof(server: &ControlledServer) -> &dyn WalProof {
    server.wal_proof().unwrap()
}

pub(crate) fn reverse_publisher(server: &ControlledServer) -> &dyn ReversePublisher {
    server.reverse_publisher().unwrap()
}

pub(crate) fn reverse_subscriber(server: &ControlledServer) -> &dyn ReverseSubscriber {
    server.reverse_subscriber().unwrap()
}

pub(crate) fn probe_table(server: &ControlledServer) -> &dyn ProbeTable {
    server.probe_table().unwrap()
}

pub(crate) fn preparation(server: &ControlledServer) -> &dyn Preparation {
    server.preparation().unwrap()
}
