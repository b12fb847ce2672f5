//! Sessions that write behind a fence are ended, and their writes are found in WAL.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::{Arrivals, ControlledServer, Exempt, Finding, Look};

use crate::{
    pair::{Pair, Session, until},
    roles::{probe_table, sessions, wal_proof},
    verbs::{SOON, breaches, close, found, prepared},
};

#[tokio::test]
async fn a_session_of_the_replication_protocol_that_writes_is_ended_like_any_other() {
    let pair = Pair::start_strict().await;
    pair.source
        .execute(
            "orders",
            "GRANT SELECT, INSERT ON items TO repl; GRANT USAGE ON SEQUENCE items_id_seq TO repl",
        )
        .await;
    let (source, _target, exempt) = prepared(&pair).await;
    let mut walsender = pair.source.walsender("repl", "orders").await;
    let insert = "INSERT INTO items (words) VALUES ('walsender') RETURNING id";
    let written = walsender.query(insert).await.unwrap();
    assert!(written.is_some(), "it does not write at all");
    let reader = pair.target.connect("app", "orders").await.unwrap();
    reader.run("BEGIN; SELECT count(*) FROM items").await;

    let record = close(&source, 2, &[]).await;
    let marker = wal_proof(&source).marker("m/2", &[]).await.unwrap();
    walsender.query(insert).await.unwrap_err();
    assert_eq!(breaches(&source, &record, &[]).await, [""; 0]);
    assert_eq!(commits(&source, &marker.look, &exempt).await, 0);

    let target = pair.target.attach(2).await;
    assert!(sessions(&target).end_sessions(&[], SOON).await.unwrap() >= 1);
    assert!(reader.try_run("SELECT 1").await.is_err());
    let arrivals = sessions(&target)
        .arrivals(pointsman_catalog::UnixMillis(0), &[])
        .await;
    assert_eq!(arrivals.unwrap(), Arrivals::default());
}

#[tokio::test]
async fn every_kind_of_user_commit_is_counted() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, exempt) = prepared(&pair).await;
    quiet_superuser(&pair).await;
    let app = pair.source.connect("app", "orders").await.unwrap();
    for write in [
        "INSERT INTO items (words) VALUES ('one')",
        "UPDATE items SET words = 'two' WHERE id = 1",
        "DELETE FROM items WHERE id = 2",
        "TRUNCATE items",
        "SELECT setval('items_id_seq', 5000)",
        "BEGIN; SAVEPOINT s; INSERT INTO items (words) VALUES ('sub'); RELEASE s; COMMIT",
        "SET synchronous_commit = off; INSERT INTO items (words) VALUES ('lazy')",
        "CREATE TABLE t AS SELECT 1 AS one; ",
        "SELECT lo_create(0)",
    ] {
        let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
        let write = write.trim_end_matches("; ");
        app.run(write).await;
        assert_eq!(commits(&source, &since, &exempt).await, 1, "{write}");
    }
}

#[tokio::test]
async fn a_commit_that_changes_no_row_of_a_user_is_not_counted() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, exempt) = prepared(&pair).await;
    let boss = quiet_superuser(&pair).await;
    let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
    for nothing in [
        "ANALYZE",
        "VACUUM (ANALYZE) items",
        "BEGIN; INSERT INTO items (words) VALUES ('no'); ROLLBACK",
        "BEGIN; SAVEPOINT s; INSERT INTO items (words) VALUES ('no'); ROLLBACK TO s; \
         SELECT pg_current_xact_id(); COMMIT",
        "SELECT * FROM items FOR UPDATE",
    ] {
        for statement in nothing.split("; ") {
            boss.run(statement).await;
        }
        assert_eq!(commits(&source, &since, &exempt).await, 0, "{nothing}");
    }
    probe_table(&source).write_probe("orders", 3).await.unwrap();
    wal_proof(&source).marker("m/1", &[]).await.unwrap();
    assert_eq!(
        commits(&source, &since, &exempt).await,
        0,
        "the engine's own"
    );

    boss.run("SELECT pg_replication_origin_create('stream')")
        .await;
    boss.run("SELECT pg_replication_origin_session_setup('stream')")
        .await;
    let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
    boss.run("INSERT INTO items (words) VALUES ('applied')")
        .await;
    assert_eq!(commits(&source, &since, &exempt).await, 1, "a stranger's");
}

/// The origin of a subscription is one of the stream's if that is the stream's.
#[tokio::test]
async fn s26_commits_under_the_origin_of_the_stream_alone_are_its_own() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, exempt) = prepared(&pair).await;
    for (subscription, strangers) in [("pointsman_rb", 0), ("other", 1)] {
        let boss = pair.source.connect("boss", "orders").await.unwrap();
        let make = format!(
            "CREATE SUBSCRIPTION {subscription} CONNECTION 'port=1' PUBLICATION p WITH (connect = false)"
        );
        boss.run(&make).await;
        let origin = format!(
            "SELECT pg_replication_origin_session_setup('pg_' || oid) FROM pg_subscription \
             WHERE subname = '{subscription}'"
        );
        boss.run(&origin).await;
        let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
        boss.run("INSERT INTO items (words) VALUES ('applied')")
            .await;
        let found = commits(&source, &since, &exempt).await;
        assert_eq!(found, strangers, "{subscription}");
    }
}

#[tokio::test]
async fn a_commit_counts_whose_writes_lie_before_the_beginning() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, exempt) = prepared(&pair).await;
    let app = pair.source.connect("app", "orders").await.unwrap();
    app.run("BEGIN; INSERT INTO items (words) VALUES ('early')")
        .await;
    let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
    app.run("COMMIT").await;
    assert_eq!(commits(&source, &since, &exempt).await, 1);

    app.run("BEGIN; INSERT INTO items (words) VALUES ('long before')")
        .await;
    let superuser = pair.source.superuser();
    let filler = pair.source.connect(superuser, "postgres").await.unwrap();
    for _ in 0..8 {
        filler
            .run("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1048576))")
            .await;
    }
    let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
    app.run("COMMIT").await;
    assert_eq!(commits(&source, &since, &exempt).await, 1, "long before");

    let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
    app.run("BEGIN; INSERT INTO items (words) VALUES ('two phases'); PREPARE TRANSACTION 'p'")
        .await;
    assert_eq!(commits(&source, &since, &exempt).await, 0, "only prepared");
    let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
    app.run("COMMIT PREPARED 'p'").await;
    assert_eq!(commits(&source, &since, &exempt).await, 1);
}

#[tokio::test]
async fn proofs_read_wal_stretch_by_stretch() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, exempt) = prepared(&pair).await;
    let app = pair.source.connect("app", "orders").await.unwrap();
    let since = wal_proof(&source).marker("m/1", &[]).await.unwrap().look;
    let mut expected = 0;
    let position = async || source.observe().await.unwrap().position;
    while position().await.0 < since.lsn.0 + 10 * 1024 * 1024 {
        write_in_bulk(&app).await;
        expected += 20;
    }
    assert_eq!(commits(&source, &since, &exempt).await, expected);
}

#[tokio::test]
async fn autovacuum_behind_the_fence_is_no_writer() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, exempt) = prepared(&pair).await;
    let app = pair.source.connect("app", "orders").await.unwrap();
    write_in_bulk(&app).await;
    let record = close(&source, 2, &[]).await;
    let since = wal_proof(&source).marker("m/2", &[]).await.unwrap().look;
    until("an automatic ANALYZE", async || {
        sessions(&source)
            .open_databases(&["orders".to_owned()])
            .await
            .unwrap();
        pair.source.log().contains("automatic analyze")
    })
    .await;
    assert_eq!(commits(&source, &since, &exempt).await, 0);
    assert_eq!(breaches(&source, &record, &[]).await, [""; 0]);
}

/// A superuser's session on the source, whose table has rows and needs no pruning.
async fn quiet_superuser(pair: &Pair) -> Session {
    let boss = pair.source.connect("boss", "orders").await.unwrap();
    for statement in [
        "INSERT INTO items (words) SELECT 'x' FROM generate_series(1, 500)",
        // The first write after a checkpoint prunes and freezes; that belongs to nobody.
        "VACUUM (FREEZE, ANALYZE) items",
        "CHECKPOINT",
    ] {
        boss.run(statement).await;
    }
    boss
}

/// Twenty transactions, some of them with subtransactions.
async fn write_in_bulk(app: &Session) {
    for _ in 0..10 {
        app.run("INSERT INTO items (words) SELECT repeat('x', 2000) FROM generate_series(1, 50)")
            .await;
        app.run("BEGIN; SAVEPOINT s; INSERT INTO items (words) VALUES ('sub'); RELEASE s; COMMIT")
            .await;
    }
}

async fn commits(server: &ControlledServer, since: &Look, exempt: &Exempt) -> u64 {
    match found(server, since, exempt).await {
        Finding::Unwritten => 0,
        Finding::Written(count) => count,
        Finding::Accepted(_) | Finding::Unproven(_) => panic!("WAL records do not doubt"),
    }
}
