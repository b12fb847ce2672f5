//! What a closed server lets in, remembers and gives back.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::{
    AccessRules, ConnectionAttempt, ControlledServer, FormerSettings, ProviderError,
};

use crate::{
    pair::{Pair, until},
    roles::{fence, preparation, sessions},
    verbs::{SOON, breaches, close, moving, prepared, request},
};

#[tokio::test]
async fn a_closed_server_remembers_its_former_settings_and_gives_them_back() {
    let pair = Pair::start(FenceLevel::SqlHba).await;
    let serving = pair.source.hba();
    let (source, target, _) = prepared(&pair).await;
    pair.source
        .execute("postgres", "ALTER DATABASE idle CONNECTION LIMIT 7")
        .await;
    let before = source.observe().await.unwrap().databases;

    let first = close(&source, 2, &[]).await;
    assert_eq!(first.former.databases, before);
    assert_eq!(first.former.hba.as_deref().unwrap().as_bytes(), serving);
    let fenced = source.observe().await.unwrap().databases;
    assert!(fenced.iter().all(|database| {
        if database.datname == "postgres" {
            database.allow_connections && database.connection_limit == 0
        } else {
            !database.allow_connections
        }
    }));
    for datname in ["orders", "idle", "template1"] {
        let message = pair.source.connect("boss", datname).await.err().unwrap();
        assert!(message.contains("not currently accepting") || message.contains("pg_hba.conf"));
    }

    let second = close(&source, 3, &[]).await;
    assert_eq!(
        second.former.databases, before,
        "the fence itself was recorded"
    );
    assert_eq!(second.former.hba, first.former.hba);
    let found = pair.source.fence_record().await.unwrap();
    assert_eq!((found.epoch, found.timeline), (3, 1));
    assert_eq!(found.former, second.former);
    assert_eq!(found.server, second.server);
    let copied = async || pair.target.fence_record().await.as_ref() == Some(&found);
    until("the record's copy on the standby", copied).await;
    assert!(!target.observe().await.unwrap().databases[0].allow_connections);

    let stale = request(&source, 2).await;
    let refused = fence(&source).close(&stale).await.unwrap_err();
    assert!(
        matches!(refused, ProviderError::Superseded { found: 3, .. }),
        "{refused}"
    );

    fence(&source)
        .restore_access_rules(&found.former)
        .await
        .unwrap();
    fence(&source)
        .await_access_rules(AccessRules::Former, SOON)
        .await
        .unwrap();
    assert_eq!(pair.source.hba(), serving);
    fence(&source).reopen(&found.former, &[]).await.unwrap();
    assert_eq!(source.observe().await.unwrap().databases, before);
    assert_eq!(pair.source.fence_record().await, None);
    let accepted = sessions(&source).try_connect("orders").await.unwrap();
    assert_eq!(accepted, ConnectionAttempt::Accepted);
    pair.source.connect("app", "orders").await.unwrap();
}

/// Opens `source` as it was.
async fn lift(source: &ControlledServer, former: &FormerSettings) {
    fence(source).restore_access_rules(former).await.unwrap();
    fence(source)
        .await_access_rules(AccessRules::Former, SOON)
        .await
        .unwrap();
    fence(source).reopen(former, &[]).await.unwrap();
}

#[tokio::test]
async fn a_crash_between_record_and_file_leaves_the_former_file_in_the_record() {
    let pair = Pair::start(FenceLevel::SqlHba).await;
    let serving = pair.source.hba();
    let (source, _target, _) = prepared(&pair).await;
    close(&source, 2, &[]).await;
    drop(source);

    let source = pair.source.attach(3).await;
    let again = close(&source, 3, &[]).await;
    fence(&source)
        .await_access_rules(AccessRules::Fenced, SOON)
        .await
        .unwrap();
    assert_eq!(again.former.hba.as_deref().unwrap().as_bytes(), serving);
    lift(&source, &again.former).await;
    assert_eq!(pair.source.hba(), serving);
    pair.source.connect("boss", "idle").await.unwrap();
}

/// Messages are translated; a server without translations is fenced in English.
#[tokio::test]
async fn the_rules_of_a_fence_are_seen_in_another_language() {
    let pair = Pair::start(FenceLevel::SqlHba).await;
    for sql in [
        "ALTER SYSTEM SET lc_messages = 'C.UTF-8'",
        "SELECT pg_reload_conf()",
    ] {
        pair.source.execute("postgres", sql).await;
    }
    let (source, _target, _) = prepared(&pair).await;
    let closed = close(&source, 2, &[]).await;
    fence(&source)
        .await_access_rules(AccessRules::Fenced, SOON)
        .await
        .unwrap();
    let refusal = sessions(&source).try_connect("orders").await.unwrap();
    println!("{refusal:?}");
    lift(&source, &closed.former).await;
}

#[tokio::test]
async fn whatever_breaks_a_fence_is_named() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, _) = prepared(&pair).await;
    pair.source
        .execute(
            "orders",
            "BEGIN; INSERT INTO items (words) VALUES ('p'); PREPARE TRANSACTION 'left'",
        )
        .await;
    let record = close(&source, 2, &[]).await;
    let found = breaches(&source, &record, &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("prepared transaction left"), "{found:?}");

    // At fence level `sql` a superuser still enters `postgres`.
    let boss = pair.source.connect("boss", "postgres").await.unwrap();
    boss.run("ALTER DATABASE orders ALLOW_CONNECTIONS true")
        .await;
    boss.run("ALTER DATABASE postgres CONNECTION LIMIT 5").await;
    boss.run("CREATE DATABASE later").await;
    let message = breaches(&source, &record, &[]).await.join("\n");
    for breach in [
        "prepared transaction left",
        "database orders is open",
        "database later is open",
        "database later was created after the fence",
        "database postgres has connection limit 5",
        "of boss in postgres",
    ] {
        assert!(message.contains(breach), "{breach} is not in:\n{message}");
    }
    sessions(&source).end_sessions(&[], SOON).await.unwrap();
    assert!(boss.try_run("SELECT 1").await.is_err());

    fence(&source).reopen(&record.former, &[]).await.unwrap();
    preparation(&source).unprepare(&moving()).await.unwrap();
}

#[tokio::test]
async fn another_migrations_fence_is_left_alone() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let (source, _target, _) = prepared(&pair).await;
    close(&source, 2, &[]).await;
    let mut other = request(&source, 9).await;
    other.migration = "other".to_owned();
    let refused = fence(&source).close(&other).await.unwrap_err();
    assert!(
        refused.to_string().contains("the fence of migration m"),
        "{refused}"
    );
}
