//! Ids of others on a server whose control role does not own every database.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::{ControlId, ControlledServer, Exempt, Finding, Look, ProofMethod};

use crate::{
    pair::{Pair, provider, until},
    roles::wal_proof,
    verbs::prepared,
};

const CLOSABLE: [&str; 4] = ["orders", "billing", "idle", "template1"];

/// The control role `app` owns every database but `theirs`, and may not read WAL.
async fn attached(pair: &Pair) -> ControlledServer {
    let server = &pair.source;
    for sql in [
        "CREATE DATABASE theirs OWNER boss",
        "ALTER DATABASE postgres OWNER TO app",
        "ALTER DATABASE template1 OWNER TO app",
        "GRANT USAGE ON SCHEMA pointsman TO app",
        "GRANT ALL ON ALL TABLES IN SCHEMA pointsman TO app",
        "ALTER SYSTEM SET autovacuum = off",
        "SELECT pg_reload_conf()",
    ] {
        server.execute("postgres", sql).await;
    }
    let theirs = server.connect("boss", "theirs").await.unwrap();
    theirs.run("CREATE TABLE beats (at timestamptz)").await;
    let declared = server.server_as("app");
    let control = ControlId {
        migration: "by-app".to_owned(),
        epoch: 1,
    };
    let attached = provider().attach(&declared, &control).await.unwrap();
    for datname in CLOSABLE {
        let close = format!("ALTER DATABASE {datname} ALLOW_CONNECTIONS false");
        server.execute("postgres", &close).await;
    }
    attached
}

async fn look(server: &ControlledServer) -> Look {
    let marker = wal_proof(server).marker("m/2", &[]).await;
    marker.unwrap().look
}

async fn proved(server: &ControlledServer, since: &Look) -> Finding {
    let exempt = Exempt::default();
    let proof = wal_proof(server).prove_unwritten(since, &exempt).await;
    let proof = proof.unwrap();
    assert_eq!(proof.method, ProofMethod::TransactionIds);
    proof.finding
}

#[tokio::test]
async fn an_owners_id_in_a_database_that_cannot_be_closed_is_named_and_accepted() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (_source, _target, _) = prepared(&pair).await;
    let app = attached(&pair).await;
    let boss = pair.source.connect("boss", "theirs").await.unwrap();
    let beat = "INSERT INTO beats VALUES (now())";

    let since = look(&app).await;
    assert_eq!(proved(&app, &since).await, Finding::Unwritten);
    boss.run(beat).await;
    let Finding::Accepted(strangers) = proved(&app, &since).await else {
        panic!("a heartbeat stands in the way");
    };
    let not_closable = [pair.source.not_closable(), &["theirs"]].concat();
    assert_eq!(strangers.not_closable, not_closable);
    assert_eq!(strangers.xids.len(), 1, "{strangers:?}");
    assert!(strangers.xids[0] > since.xid);

    // Where statistics are collected, an id can be theirs.
    let since = look(&app).await;
    boss.run("ALTER SYSTEM SET autovacuum = on").await;
    boss.run("SELECT pg_reload_conf()").await;
    let superuser = pair.source.superuser();
    let session = pair.source.connect(superuser, "postgres").await.unwrap();
    until("autovacuum is on", async || {
        session.ask("current_setting('autovacuum')").await == "on"
    })
    .await;
    boss.run(beat).await;
    until("the setting is seen", async || {
        matches!(proved(&app, &since).await, Finding::Unproven(_))
    })
    .await;
}

#[tokio::test]
async fn who_opened_a_closed_database_in_between_is_not_accepted() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (_source, _target, _) = prepared(&pair).await;
    let app = attached(&pair).await;
    let boss = pair.source.connect("boss", "theirs").await.unwrap();
    let since = look(&app).await;
    boss.run("ALTER DATABASE orders ALLOW_CONNECTIONS true")
        .await;
    let writer = pair.source.connect("boss", "orders").await.unwrap();
    writer.run("INSERT INTO items (words) VALUES ('x')").await;
    drop(writer);
    boss.run("ALTER DATABASE orders ALLOW_CONNECTIONS false")
        .await;
    let found = proved(&app, &since).await;
    assert!(
        matches!(&found, Finding::Unproven(found) if found.count == 3 && found.changed == ["orders"]),
        "{found:?}"
    );
    // A database that was made in between is no owner's of before either.
    let since = look(&app).await;
    boss.run("CREATE DATABASE later").await;
    let found = proved(&app, &since).await;
    assert!(matches!(found, Finding::Unproven(_)), "{found:?}");
}

#[tokio::test]
async fn behind_a_fence_that_was_seen_broken_no_owners_id_is_accepted() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (_source, _target, _) = prepared(&pair).await;
    let app = attached(&pair).await;
    let boss = pair.source.connect("boss", "theirs").await.unwrap();
    let beat = "INSERT INTO beats VALUES (now())";
    let since = look(&app).await;
    let seen = "database orders is open: it's nobody's";
    wal_proof(&app).note_breach(seen).await.unwrap();
    // The note itself is the engine's own.
    assert_eq!(proved(&app, &since).await, Finding::Unwritten);
    let after = look(&app).await;
    boss.run(beat).await;
    let found = proved(&app, &since).await;
    assert!(
        matches!(&found, Finding::Unproven(found) if found.breaches == [seen] && found.count == 1),
        "{found:?}"
    );
    // It says nothing of the time behind it.
    let found = proved(&app, &after).await;
    assert!(matches!(found, Finding::Accepted(_)), "{found:?}");
}
