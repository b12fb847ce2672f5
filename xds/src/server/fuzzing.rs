//! A client's bytes through the decoder into a machine that has something to serve.

use std::sync::Arc;

use prost::Message as _;
use tokio::time::Instant;

use super::wire::{self, Delta, Form, StateOfTheWorld};
use crate::{
    fixture::{TERMS, assignment, eds_cluster, opaque},
    node::NodeDescription,
    published::PublishedSnapshot,
    resource::ResourceType,
    sequence::Sequence,
    snapshot::Snapshot,
    stream::{Machine, Terms},
};

pub(crate) fn requests(bytes: &[u8]) {
    let Some((form, bytes)) = bytes.split_first() else {
        return;
    };
    match form % 2 {
        0 => stream::<Delta>(bytes),
        _ => stream::<StateOfTheWorld>(bytes),
    }
}

fn stream<F: Form>(mut bytes: &[u8]) {
    let now = Instant::now();
    let control_plane = wire::control_plane("server");
    let mut machine = None;
    let mut sequence = 0;
    let mut former: Option<Arc<PublishedSnapshot>> = None;
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (encoded, rest) = rest.split_at(length);
        bytes = rest;
        if machine.is_none() {
            let node = NodeDescription::read(encoded, F::NODE);
            let terms = node.map_or(TERMS, |node| Terms::new(&node, F::TRANSPORT, TERMS.bounds));
            machine = Some(Machine::new(F::TRANSPORT, "server".into(), terms));
        }
        let Some(machine) = &mut machine else {
            return;
        };
        sequence += 1;
        let snapshot = snapshot_at(sequence);
        let published =
            PublishedSnapshot::after(Sequence::from(sequence), snapshot, former.as_deref());
        let published = Arc::new(published);
        former = Some(Arc::clone(&published));
        machine.publish(published);
        if let Ok(request) = F::Request::decode(encoded) {
            let Some(kind) = ResourceType::from_type_url(F::type_url(&request)) else {
                machine.unserved(F::type_url(&request));
                continue;
            };
            if F::enter(machine, kind, request, now).is_err() {
                return;
            }
        }
        let sent = machine.advance(now);
        assert!(sent.len() <= 2 * ResourceType::ALL.len());
        for response in sent {
            drop(F::encode(&response, &control_plane));
        }
        machine.synced_to();
        machine.changes().for_each(drop);
        machine.deadline(now);
    }
}

/// Something of every type, and something else at each turn.
fn snapshot_at(turn: u64) -> Snapshot {
    let port = u32::try_from(turn % 60_000).unwrap_or_default() + 1;
    let content = turn.to_string();
    let opaque = ResourceType::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, ResourceType::Cluster | ResourceType::Endpoints))
        .map(|kind| opaque(kind, "a", &content));
    let snapshot = Snapshot::builder()
        .extend([eds_cluster("a", 1), assignment("a", port)])
        .extend(opaque)
        .build();
    snapshot.unwrap_or_else(|error| unreachable!("{error}"))
}
