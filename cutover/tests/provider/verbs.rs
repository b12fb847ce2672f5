//! Verbs in the order in which a switch uses them.

use std::time::Duration;

use pointsman_catalog::ServerName;
use pointsman_cutover::ports::{
    ControlledServer, Exempt, FenceRecord, FenceToken, Finding, FormerSettings, Look, Marker,
    PromoteAnswer, ReverseSlot, SubscriptionSpec,
};

use crate::{
    pair::{MOVING, Pair},
    roles::{fence, guarded_promotion, preparation, replication, sessions, wal_proof},
};

pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) fn moving() -> Vec<String> {
    MOVING.map(str::to_owned).to_vec()
}

/// Both servers under control of epoch 1, prepared, with their sessions open.
pub(crate) async fn prepared(pair: &Pair) -> (ControlledServer, ControlledServer, Exempt) {
    let (source, target) = (pair.source.attach(1).await, pair.target.attach(1).await);
    sessions(&source).open_databases(&moving()).await.unwrap();
    let exempt = preparation(&source).prepare(&moving()).await.unwrap();
    let made = wal_proof(&source).flush().await.unwrap();
    replication(&target).await_replay(made, SOON).await.unwrap();
    sessions(&target).open_databases(&moving()).await.unwrap();
    sessions(&source).open_databases(&moving()).await.unwrap();
    (source, target, exempt)
}

/// The request to close `server` at `epoch`.
pub(crate) async fn request(server: &ControlledServer, epoch: u64) -> FenceRecord {
    FenceRecord {
        migration: "m".to_owned(),
        epoch,
        server: server.name().clone(),
        timeline: server.observe().await.unwrap().timeline,
        promoted_by_api: false,
        promote_within: SOON,
        former: FormerSettings::default(),
    }
}

/// Closes `server` and ends its sessions. Returns the record with the former settings.
pub(crate) async fn close(
    server: &ControlledServer,
    epoch: u64,
    spare: &[ReverseSlot],
) -> FenceRecord {
    let request = request(server, epoch).await;
    let closed = fence(server).close(&request).await.unwrap();
    sessions(server).await_starting_backends().await.unwrap();
    sessions(server).end_sessions(spare, SOON).await.unwrap();
    FenceRecord {
        former: closed,
        ..request
    }
}

/// What [`ControlledServer::breaches`] says, as text.
pub(crate) async fn breaches(
    server: &ControlledServer,
    record: &FenceRecord,
    spare: &[ReverseSlot],
) -> Vec<String> {
    let breaches = fence(server).breaches(record, spare).await.unwrap();
    breaches.into_iter().map(|breach| breach.message).collect()
}

/// Who wrote since a look.
pub(crate) async fn found(server: &ControlledServer, since: &Look, exempt: &Exempt) -> Finding {
    let proof = wal_proof(server).prove_unwritten(since, exempt).await;
    proof.unwrap().finding
}

/// The token of a source that was closed at `marker`.
pub(crate) fn token(marker: &Marker) -> FenceToken {
    FenceToken {
        server: ServerName::new("blue").unwrap(),
        system_identifier: "1".to_owned(),
        timeline: 1,
        marker: marker.clone(),
        epoch: 2,
    }
}

/// Promotes a target that has replayed the marker of a closed source.
pub(crate) async fn promote(target: &ControlledServer, marker: &Marker) {
    replication(target)
        .await_replay(marker.lsn, SOON)
        .await
        .unwrap();
    sessions(target).end_sessions(&[], SOON).await.unwrap();
    let deadline = target.observe().await.unwrap().clock.plus(SOON);
    assert_eq!(
        guarded_promotion(target)
            .promote(token(marker), deadline)
            .await
            .unwrap(),
        PromoteAnswer::Asked
    );
    guarded_promotion(target).await_primary(SOON).await.unwrap();
}

pub(crate) fn subscriptions(pair: &Pair, slots: &[ReverseSlot]) -> Vec<SubscriptionSpec> {
    slots
        .iter()
        .map(|slot| SubscriptionSpec {
            datname: slot.datname.clone(),
            slot: slot.slot.clone(),
            publisher: pair.target.server(),
        })
        .collect()
}
