//! The whole way forward, and back over the reverse stream.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::Refusal;

use crate::{
    pair::{MOVING, Pair, Session, until},
    verbs::{SOON, breaches, close, moving, prepared, promote, subscriptions},
};

const COUNT: &str = "SELECT count(*) FROM items";

#[tokio::test]
async fn a_pair_moves_forward_and_back_without_losing_a_row() {
    let pair = Pair::start(FenceLevel::SqlHba).await;
    let serving = pair.source.hba();
    let (source, target, exempt) = prepared(&pair).await;
    for datname in MOVING {
        insert(&pair.source.connect("app", datname).await.unwrap(), 3).await;
    }

    let mut record = close(&*source, 2, &[]).await;
    assert_eq!(breaches(&*source, &record, &[]).await, [""; 0]);
    source.await_hba(true, SOON).await.unwrap();
    let refusal = source.try_connect("orders").await.unwrap();
    assert!(matches!(refusal, Refusal::Refused { .. }), "{refusal:?}");
    let marker = source.marker("m/2", &[]).await.unwrap();
    promote(&*target, marker).await;
    let proof = source.user_commits(marker.after, &exempt).await.unwrap();
    assert_eq!(proof.count, 0);

    let observed = target.observe().await.unwrap();
    assert!(!observed.in_recovery && observed.timeline == 2);
    let fork = observed.replayed.unwrap();
    assert!(fork >= marker.lsn);
    target.barrier().await.unwrap();
    target.end_sessions(&[], SOON).await.unwrap();
    let slots = target.create_reverse_slots(&moving()).await.unwrap();
    assert_eq!(slots, target.create_reverse_slots(&moving()).await.unwrap());
    assert_eq!(target.user_commits(fork, &exempt).await.unwrap().count, 0);
    target
        .reopen(&record.closed, &["idle".to_owned()])
        .await
        .unwrap();
    assert_eq!(pair.target.fence_record().await, None);
    let idle = pair.target.connect("app", "idle").await.err().unwrap();
    assert!(
        idle.contains("not currently accepting connections"),
        "{idle}"
    );
    for datname in MOVING {
        insert(&pair.target.connect("app", datname).await.unwrap(), 5).await;
    }

    let armed = source.arm(&subscriptions(&pair, &slots)).await.unwrap();
    assert_eq!(armed.nologin_roles, ["boss"]);
    let again = source.arm(&subscriptions(&pair, &slots)).await.unwrap();
    assert_eq!(
        again, armed,
        "a second arming loses what the first one took"
    );
    for datname in moving() {
        target.write_probe(&datname, 7).await.unwrap();
        until("the probe row over the reverse stream", async || {
            source.read_probe(&datname).await.unwrap() == Some(7)
        })
        .await;
    }
    assert_eq!(source.apply_errors().await.unwrap(), 0);
    for role in ["app", "boss"] {
        let words = pair.source.connect(role, "orders").await.err().unwrap();
        assert!(words.contains("pg_hba.conf rejects connection"), "{words}");
    }

    let back = close(&*target, 3, &slots).await;
    assert_eq!(breaches(&*target, &back, &slots).await, [""; 0]);
    let marker = target.marker("m/3", &moving()).await.unwrap();
    until("the subscribers' confirmation of the marker", async || {
        let progress = target.slot_progress(&slots).await.unwrap();
        progress.len() == 2
            && progress
                .iter()
                .all(|slot| slot.streaming && slot.confirmed >= marker.lsn)
    })
    .await;
    for datname in moving() {
        let values = target.sequences(&datname).await.unwrap();
        source.set_sequences(&datname, &values).await.unwrap();
    }
    source.disable_subscriptions(&moving()).await.unwrap();
    source.restore_hba(&record.closed).await.unwrap();
    source.await_hba(false, SOON).await.unwrap();
    assert_eq!(pair.source.hba(), serving, "pg_hba.conf differs");
    source.restore_logins(&armed).await.unwrap();
    record.closed.xids.clear();
    source.reopen(&record.closed, &[]).await.unwrap();
    for datname in MOVING {
        let session = pair.source.connect("app", datname).await.unwrap();
        session
            .run("INSERT INTO items (words) VALUES ('back')")
            .await;
        assert_eq!(session.ask(COUNT).await, "9");
        let newest = "SELECT words FROM items ORDER BY id DESC LIMIT 1";
        assert_eq!(
            session.ask(newest).await,
            "back",
            "a sequence stayed behind"
        );
    }
    pair.source.connect("boss", "idle").await.unwrap();
    assert_eq!(pair.source.fence_record().await, None);

    for _ in 0..2 {
        source.drop_subscriptions(&moving()).await.unwrap();
        target.drop_slots(&slots).await.unwrap();
    }
    source.unprepare(&moving()).await.unwrap();
    let rest = pair.source.connect("postgres", "orders").await.unwrap();
    assert_eq!(
        rest.ask("SELECT count(*) FROM pg_publication, pg_subscription")
            .await,
        "0"
    );
}

async fn insert(session: &Session, rows: u32) {
    session
        .run(&format!(
            "INSERT INTO items (words) SELECT 'row' FROM generate_series(1, {rows})"
        ))
        .await;
}
