//! A promotion happens only under its guard, and what was lost on the way is found again.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::{
    Lsn,
    ports::{Finding, Look, Marker, PromoteAnswer, ProviderError},
};

use pointsman_lab::postgres::STANDBY_SLOT;

use crate::{
    pair::{Pair, until},
    proof::quiet,
    roles::{fence, guarded_promotion, replication, reverse_publisher, sessions, wal_proof},
    verbs::{SOON, breaches, close, found, moving, prepared, promote, token},
};

/// A read that failed may have written hints: records without a transaction id, which stay in memory, or on
/// the disk in part, until somebody commits.
#[tokio::test]
async fn a_standby_gets_what_a_quiet_primary_has_flushed_in_part() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, target, _) = prepared(&pair).await;
    quiet(&pair.source).await;
    pair.source.flush_half_a_record().await;
    let written = source.observe().await.unwrap().position;
    let flushed = wal_proof(&source).flush().await.unwrap();
    assert!(flushed > written);
    let replayed = replication(&target).await_replay(flushed, SOON);
    replayed.await.unwrap();
}

#[tokio::test]
async fn a_promotion_waits_for_replay_closure_and_deadline() {
    let pair = Pair::start_strict().await;
    let (source, target, _) = prepared(&pair).await;
    let late = target.observe().await.unwrap().clock;
    let soon = late.plus(SOON);
    let at = |lsn: Lsn| {
        token(&Marker::from(Look {
            lsn,
            xid: 0,
            open: Vec::new(),
            own: Vec::new(),
        }))
    };
    let open = replication(&target).replay().await.unwrap().replayed;
    let answer = guarded_promotion(&target)
        .promote(at(open), soon)
        .await
        .unwrap();
    assert_eq!(answer, PromoteAnswer::Refused, "a database is open");

    close(&source, 2, &[]).await;
    let closed = wal_proof(&source).flush().await.unwrap();
    replication(&target)
        .await_replay(closed, SOON)
        .await
        .unwrap();
    pair.target
        .execute("postgres", "SELECT pg_wal_replay_pause()")
        .await;
    let marker = wal_proof(&source).marker("m/2", &[]).await.unwrap();
    let answer = guarded_promotion(&target)
        .promote(at(marker.lsn), soon)
        .await
        .unwrap();
    assert_eq!(answer, PromoteAnswer::Refused, "the marker is not replayed");
    let stuck = replication(&target).await_replay(marker.lsn, std::time::Duration::from_millis(50));
    assert!(matches!(stuck.await, Err(ProviderError::TimedOut { .. })));
    pair.target
        .execute("postgres", "SELECT pg_wal_replay_resume()")
        .await;
    replication(&target)
        .await_replay(marker.lsn, SOON)
        .await
        .unwrap();
    let answer = guarded_promotion(&target)
        .promote(at(marker.lsn), late)
        .await
        .unwrap();
    assert_eq!(answer, PromoteAnswer::Refused, "the deadline is over");
    assert!(replication(&target).replay().await.unwrap().in_recovery);

    promote(&target, &marker).await;
    let answer = guarded_promotion(&target)
        .promote(at(marker.lsn), late)
        .await
        .unwrap();
    assert_eq!(answer, PromoteAnswer::AlreadyPrimary);
    let replay = replication(&target)
        .await_replay(marker.lsn, SOON)
        .await
        .unwrap();
    assert!(!replay.in_recovery);
}

#[tokio::test]
async fn a_leader_that_lost_its_sessions_enters_the_promoted_target_again() {
    let pair = Pair::start_strict().await;
    let (source, target, exempt) = prepared(&pair).await;
    let record = close(&source, 2, &[]).await;
    let marker = wal_proof(&source).marker("m/2", &[]).await.unwrap();
    promote(&target, &marker).await;
    let copy = pair.target.fence_record().await.unwrap();
    let observed = target.observe().await.unwrap();
    assert_eq!(copy.server.as_str(), "blue");
    assert!(copy.timeline < observed.timeline);
    let since = marker.look.on_promoted(observed.replayed.unwrap());

    // The engine dies here, and with it every session into the closed databases.
    drop(target);
    let target = pair.target.attach(3).await;
    assert!(
        reverse_publisher(&target)
            .create_slots(&moving())
            .await
            .is_err()
    );
    assert!(sessions(&target).open_databases(&moving()).await.is_err());
    sessions(&target)
        .reenter_databases(&moving())
        .await
        .unwrap();
    let slots = reverse_publisher(&target)
        .create_slots(&moving())
        .await
        .unwrap();
    assert_eq!(breaches(&target, &record, &[]).await, [""; 0]);
    assert_eq!(found(&target, &since, &exempt).await, Finding::Unwritten);
    fence(&target).reopen(&record.former, &[]).await.unwrap();
    let app = pair.target.connect("app", "orders").await.unwrap();
    app.run("INSERT INTO items (words) VALUES ('after')").await;
    let after = found(&target, &since, &exempt).await;
    // An id does not say what was written.
    let is_found = if pair.target.offers_walinspect().await {
        after == Finding::Written(1)
    } else {
        !matches!(after, Finding::Unwritten | Finding::Written(_))
    };
    assert!(is_found, "{after:?}");

    let link = replication(&target).standby_link().await.unwrap();
    assert_eq!(link.slot.as_deref(), Some(STANDBY_SLOT));
    for _ in 0..2 {
        replication(&source)
            .cut_off_standby(STANDBY_SLOT)
            .await
            .unwrap();
        reverse_publisher(&target).drop_slots(&slots).await.unwrap();
    }
}

#[tokio::test]
async fn a_standby_that_is_cut_off_hears_nothing_of_the_opening() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, target, _) = prepared(&pair).await;
    let record = close(&source, 2, &[]).await;
    let marker = wal_proof(&source).marker("m/2", &[]).await.unwrap();
    replication(&target)
        .await_replay(marker.lsn, SOON)
        .await
        .unwrap();
    let link = replication(&target).standby_link().await.unwrap();
    assert_eq!(link.restore_command, "");
    replication(&source)
        .cut_off_standby(&link.slot.unwrap())
        .await
        .unwrap();
    fence(&source).reopen(&record.former, &[]).await.unwrap();
    let opened = wal_proof(&source).marker("m/2", &[]).await.unwrap();
    until("the standby's failed attempts to stream", async || {
        let missing = format!("replication slot \"{STANDBY_SLOT}\" does not exist");
        pair.target.log().matches(&missing).count() >= 2
    })
    .await;
    assert!(replication(&target).replay().await.unwrap().replayed < opened.lsn);
    let databases = target.observe().await.unwrap().databases;
    let orders = databases
        .iter()
        .find(|database| database.datname == "orders");
    assert!(!orders.unwrap().allow_connections);
}
