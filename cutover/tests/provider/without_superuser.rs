//! A control role without superuser does what a superuser does, or says that it cannot.

use std::time::Duration;

use pointsman_cutover::ports::{ControlledServer, FenceRecord, Finding, ProviderError};
use tokio::task::JoinSet;

use crate::{
    pair::{MOVING, Pair, Running, Session, until},
    proof::quiet,
    verbs::{SOON, breaches, close, found, moving, prepared, promote, subscriptions},
    way::{delivered, insert, moved_forward, primed_and_opened},
};

/// `rdsadmin` at work in the database that nobody else can close.
async fn heartbeat(server: &Running) -> Session {
    let session = server.connect("rdsadmin", "rdsadmin").await.unwrap();
    session
        .run("CREATE TABLE IF NOT EXISTS beats (at timestamptz)")
        .await;
    session
}

const BEAT: &str = "INSERT INTO beats VALUES (now())";

#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
#[tokio::test]
async fn without_superuser_a_pair_moves_forward_and_back() {
    let pair = Pair::start_without_superuser().await;
    let rdsadmin = heartbeat(&pair.source).await;
    let (source, target, exempt) = prepared(&pair).await;
    for datname in MOVING {
        insert(&pair.source.connect("app", datname).await.unwrap(), 3).await;
    }
    let before = lists(&pair.source).await;

    let (record, since) = moved_forward(&source, &target, &exempt).await;
    assert_eq!(record.former.not_closable, ["rdsadmin"]);
    rdsadmin.run(BEAT).await;
    let slots = primed_and_opened(&target, &record, &since, &exempt).await;
    assert_eq!(lists(&pair.target).await, before);
    for datname in MOVING {
        insert(&pair.target.connect("app", datname).await.unwrap(), 5).await;
    }

    let subscriber = match source.reverse_subscriber() {
        Ok(subscriber) => subscriber,
        Err(missing) => {
            assert!(source.observe().await.unwrap().version < 160_000);
            let words = missing.to_string();
            assert!(words.contains("before PostgreSQL 16"), "{words}");
            return;
        }
    };
    let armed = subscriber.arm(&subscriptions(&pair, &slots)).await.unwrap();
    assert_eq!(armed.nologin_roles, [""; 0]);
    assert_eq!(armed.still_admitted, ["boss", "rdsadmin"]);
    let again = subscriber.arm(&subscriptions(&pair, &slots)).await.unwrap();
    assert_eq!(again, armed);
    for datname in moving() {
        let probe = target.probe_table().unwrap();
        probe.write_probe(&datname, 7).await.unwrap();
        until("the probe row over the reverse stream", async || {
            let probe = source.probe_table().unwrap();
            probe.read_probe(&datname).await.unwrap() == Some(7)
        })
        .await;
        let refused = pair.source.connect("app", &datname).await.err().unwrap();
        assert!(
            refused.contains("permission denied for database"),
            "{refused}"
        );
    }
    // A new leader finds the way in.
    drop(source);
    let source = pair.source.attach(2).await;
    source
        .sessions()
        .unwrap()
        .open_databases(&moving())
        .await
        .unwrap();
    let subscriber = source.reverse_subscriber().unwrap();

    delivered(&target, &slots).await;
    for datname in moving() {
        let values = target.reverse_publisher().unwrap().sequences(&datname);
        let values = values.await.unwrap();
        subscriber.set_sequences(&datname, &values).await.unwrap();
    }
    subscriber.disable_subscriptions(&moving()).await.unwrap();
    subscriber.restore_logins(&armed).await.unwrap();
    reopen(&source, &record).await;
    assert_eq!(lists(&pair.source).await, before);
    for datname in MOVING {
        let session = pair.source.connect("app", datname).await.unwrap();
        session
            .run("INSERT INTO items (words) VALUES ('back')")
            .await;
        assert_eq!(session.ask("SELECT count(*) FROM items").await, "9");
    }
    for _ in 0..2 {
        subscriber.drop_subscriptions(&moving()).await.unwrap();
        let publisher = target.reverse_publisher().unwrap();
        publisher.drop_slots(&slots).await.unwrap();
    }
    rdsadmin.run(BEAT).await;
}

#[tokio::test]
async fn a_new_leader_enters_the_closed_target_without_superuser() {
    let pair = Pair::start_without_superuser().await;
    let (source, target, exempt) = prepared(&pair).await;
    let before = lists(&pair.source).await;
    let record = close(&source, 2, &[]).await;
    let marker = source
        .wal_proof()
        .unwrap()
        .marker("m/2", &[])
        .await
        .unwrap();
    promote(&target, &marker).await;
    let fork = target.observe().await.unwrap().replayed.unwrap();

    drop(target);
    let target = pair.target.attach(3).await;
    let sessions = target.sessions().unwrap();
    assert!(sessions.open_databases(&moving()).await.is_err());
    sessions.reenter_databases(&moving()).await.unwrap();
    let publisher = target.reverse_publisher().unwrap();
    publisher.create_slots(&moving()).await.unwrap();
    assert_eq!(breaches(&target, &record, &[]).await, [""; 0]);
    let since = marker.look.on_promoted(fork);
    assert_eq!(found(&target, &since, &exempt).await, Finding::Unwritten);
    reopen(&target, &record).await;
    assert_eq!(lists(&pair.target).await, before);
    pair.target.connect("app", "orders").await.unwrap();
}

#[tokio::test]
async fn access_lists_are_given_back_item_by_item() {
    let pair = Pair::start_without_superuser().await;
    let boss = pair.source.connect("boss", "rdsadmin").await.unwrap();
    boss.run("CREATE ROLE ops; CREATE ROLE \"odd, role\" LOGIN; GRANT ops TO master")
        .await;
    for (grants, exact) in [
        ("", false),
        (
            "GRANT CONNECT ON DATABASE postgres TO app; GRANT CREATE ON DATABASE postgres TO ops",
            true,
        ),
        (
            "REVOKE ALL ON DATABASE postgres FROM PUBLIC; \
          GRANT TEMPORARY ON DATABASE postgres TO PUBLIC; \
          GRANT CONNECT ON DATABASE postgres TO \"odd, role\"",
            true,
        ),
        (
            "GRANT CONNECT, CREATE ON DATABASE postgres TO ops WITH GRANT OPTION; SET ROLE ops; \
          GRANT CONNECT ON DATABASE postgres TO repl; RESET ROLE",
            true,
        ),
        (
            "REVOKE ALL ON DATABASE postgres FROM master, app, ops CASCADE; \
          GRANT CREATE, CONNECT ON DATABASE postgres TO master",
            true,
        ),
    ] {
        boss.run(&format!("SELECT; {grants}")).await;
        let before = lists(&pair.source).await;
        let bytes = boss.ask(DATACL).await;
        let (source, _target, _) = prepared(&pair).await;
        let record = close(&source, 2, &[]).await;
        assert_eq!(breaches(&source, &record, &[]).await, [""; 0], "{grants}");
        for role in ["app", "repl", "odd, role"] {
            let refused = pair.source.connect(&format!("'{role}'"), "postgres").await;
            assert!(refused.is_err(), "{role} enters: {grants}");
        }
        reopen(&source, &record).await;
        assert_eq!(lists(&pair.source).await, before, "{grants}");
        assert_eq!(bytes == boss.ask(DATACL).await, exact, "{grants}");
    }
}

const DATACL: &str = "SELECT datacl FROM pg_database WHERE datname = 'postgres'";

#[tokio::test]
async fn what_only_a_superuser_may_end_is_named_and_everybody_else_is_ended() {
    let pair = Pair::start_without_superuser().await;
    let (source, _target, _) = prepared(&pair).await;
    let rdsadmin = heartbeat(&pair.source).await;
    let boss = pair.source.connect_by_tcp("boss", "orders").await;
    let app = pair.source.connect("app", "orders").await.unwrap();
    let request = crate::verbs::request(&source, 2).await;
    let former = source.fence().unwrap().close(&request).await.unwrap();
    let record = FenceRecord { former, ..request };

    let sessions = source.sessions().unwrap();
    let short = Duration::from_millis(300);
    let stays = sessions.end_sessions(&[], short).await.unwrap_err();
    assert!(
        matches!(stays, ProviderError::SessionsLeft { .. }),
        "{stays}"
    );
    let words = stays.to_string();
    let pid = boss.ask("SELECT pg_backend_pid()").await;
    for part in [
        "of boss in orders",
        &format!("(pid {pid}, from 127.0.0.1)"),
        "which only a superuser may end",
        "pg_terminate_backend",
    ] {
        assert!(words.contains(part), "{part} is not in: {words}");
    }
    assert!(!words.contains("rdsadmin"), "{words}");
    assert!(app.try_run("SELECT 1").await.is_err(), "it was not ended");
    let found = breaches(&source, &record, &[]).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("of boss in orders"), "{found:?}");

    drop(boss);
    sessions.end_sessions(&[], SOON).await.unwrap();
    assert_eq!(breaches(&source, &record, &[]).await, [""; 0]);
    rdsadmin.run(BEAT).await;
}

#[tokio::test]
async fn what_breaks_a_fence_without_superuser_is_named() {
    let pair = Pair::start_without_superuser().await;
    let (source, target, _) = prepared(&pair).await;
    let record = close(&source, 2, &[]).await;
    let boss = pair.source.connect("boss", "rdsadmin").await.unwrap();
    boss.run("GRANT CONNECT ON DATABASE postgres TO app").await;
    boss.run("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
        .await;
    boss.run("CREATE DATABASE later").await;
    let words = breaches(&source, &record, &[]).await.join("\n");
    for breach in [
        "app may connect to database postgres",
        "database template0 is open",
        "database later is open",
        "database later was created after the fence",
    ] {
        assert!(words.contains(breach), "{breach} is not in:\n{words}");
    }
    assert!(!words.contains("rdsadmin"), "{words}");

    // The target does not come up beside it either.
    let marker = source
        .wal_proof()
        .unwrap()
        .marker("m/2", &[])
        .await
        .unwrap();
    let replication = target.replication().unwrap();
    replication.await_replay(marker.lsn, SOON).await.unwrap();
    let deadline = target.observe().await.unwrap().clock.plus(SOON);
    let promotion = target.guarded_promotion().unwrap();
    let token = crate::verbs::token(&marker);
    let answer = promotion.promote(token, deadline).await.unwrap();
    assert_eq!(answer, pointsman_cutover::ports::PromoteAnswer::Refused);
}

/// Preflight has seen who owns what; between it and the fence somebody changes that.
#[tokio::test]
async fn a_database_that_changes_hands_before_the_fence_is_named_and_nothing_is_closed() {
    let pair = Pair::start_without_superuser().await;
    let boss = pair.source.connect("boss", "rdsadmin").await.unwrap();
    prepared(&pair).await;
    for owner in ["boss", "app"] {
        let source = pair.source.attach(2).await;
        boss.run(&format!("ALTER DATABASE orders OWNER TO {owner}"))
            .await;
        let request = crate::verbs::request(&source, 2).await;
        let refused = source.fence().unwrap().close(&request).await.unwrap_err();
        let words = refused.to_string();
        assert!(words.contains("can close (orders)"), "{words}");
        assert_eq!(pair.source.fence_record().await, None);
        pair.source.connect("app", "orders").await.unwrap();
        // The next attempt knows whose it is.
        let source = pair.source.attach(3).await;
        let record = close(&source, 3, &[]).await;
        let open = record.former.not_closable.iter().any(|it| it == "orders");
        assert_eq!(open, owner == "boss");
        reopen(&source, &record).await;
    }
}

#[tokio::test]
async fn the_barrier_waits_for_a_backend_that_is_starting() {
    let pair = Pair::start_without_superuser().await;
    let (source, _target, _) = prepared(&pair).await;
    // A worker of autovacuum starts as a client does, and would be counted as well.
    quiet(&pair.source).await;
    let boss = pair.source.connect("boss", "rdsadmin").await.unwrap();
    let witness = pair.source.connect("boss", "rdsadmin").await.unwrap();
    // A starting backend reads this catalogue after the checks of its database, under the lock.
    boss.run("BEGIN; LOCK TABLE pg_catalog.pg_db_role_setting IN ACCESS EXCLUSIVE MODE")
        .await;
    let mut starting = JoinSet::new();
    let conninfo = pair.source.conninfo_as("app", "orders");
    starting.spawn(async move { pointsman_lab::postgres::connect(&conninfo).await });
    let locked = |mode: &str, granted: bool| {
        format!(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.objid \
             WHERE l.classid = 'pg_database'::regclass AND d.datname = 'orders' \
               AND l.mode = '{mode}' AND l.granted = {granted}"
        )
    };
    let held = locked("RowExclusiveLock", true);
    until("the starting backend's lock", async || {
        witness.ask(&held).await == "1"
    })
    .await;
    let unseen = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
    assert_eq!(witness.ask(unseen).await, "0", "it is seen while it starts");

    let request = crate::verbs::request(&source, 2).await;
    source.fence().unwrap().close(&request).await.unwrap();
    let waits = locked("AccessExclusiveLock", false);
    let sessions = source.sessions().unwrap();
    let (barrier, ()) = tokio::join!(sessions.await_starting_backends(), async {
        until("the barrier's wait", async || {
            witness.ask(&waits).await == "1"
        })
        .await;
        boss.run("COMMIT").await;
    });
    barrier.unwrap();
    let late = sessions.end_sessions(&[], SOON).await.unwrap();
    assert_eq!(late, 1, "the backend that was starting");
}

#[tokio::test]
async fn tables_that_the_stream_leaves_out_are_named() {
    let pair = Pair::start_without_superuser().await;
    let boss = pair.source.connect("boss", "orders").await.unwrap();
    boss.run(
        "CREATE TABLE strangers (id int PRIMARY KEY); SET ROLE app; \
         CREATE TABLE unkeyed (id int); \
         CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10); RESET ROLE",
    )
    .await;
    let (source, _target, _) = prepared(&pair).await;
    let left_out = async || {
        let publisher = source.reverse_publisher().unwrap();
        publisher.left_out(&moving()).await.unwrap()
    };
    let always = ["orders.public.strangers", "orders.public.unkeyed"];
    assert_eq!(left_out().await, always);
    let app = pair.source.connect("app", "orders").await.unwrap();
    app.run("UPDATE unkeyed SET id = 1").await;

    app.run("CREATE TABLE later (id int PRIMARY KEY)").await;
    assert_eq!(
        left_out().await,
        ["orders.public.later", always[0], always[1]]
    );
    let preparation = source.preparation().unwrap();
    preparation.complete(&moving()).await.unwrap();
    preparation.complete(&moving()).await.unwrap();
    assert_eq!(left_out().await, always);
    let listed = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_publication_tables";
    assert_eq!(
        boss.ask(listed).await,
        "items later parted_1 probe transactions"
    );
}

async fn reopen(server: &ControlledServer, record: &FenceRecord) {
    let fence = server.fence().unwrap();
    fence.reopen(&record.former, &[]).await.unwrap();
}

/// Every access list, item by item and in its order, as it is or by default.
async fn lists(server: &Running) -> String {
    let boss = server.connect("boss", "rdsadmin").await.unwrap();
    boss.ask(
        "SELECT string_agg(format('%s: %s', datname, \
           coalesce(datacl, acldefault('d', datdba))), E'\\n' ORDER BY datname) FROM pg_database",
    )
    .await
}

#[tokio::test]
async fn a_list_that_could_not_be_put_back_is_named_before_anything_is_closed() {
    let pair = Pair::start_without_superuser().await;
    let boss = pair.source.connect("boss", "postgres").await.unwrap();
    boss.run(
        "CREATE ROLE stranger; GRANT CONNECT ON DATABASE orders TO stranger WITH GRANT OPTION; \
         SET ROLE stranger; GRANT CONNECT ON DATABASE orders TO repl; RESET ROLE",
    )
    .await;
    let before = lists(&pair.source).await;
    let source = pair.source.attach(1).await;
    let sessions = source.sessions().unwrap();
    sessions.open_databases(&moving()).await.unwrap();
    let preparation = source.preparation().unwrap();
    let refused = preparation.prepare(&moving()).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Unfit { .. }), "{refused}");
    assert!(refused.to_string().contains("stranger"), "{refused}");
    assert_eq!(lists(&pair.source).await, before);
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pointsman'";
    assert_eq!(boss.ask(made).await, "0");
    source.observe().await.unwrap();
}

#[tokio::test]
async fn what_is_written_where_nothing_can_be_closed_is_accepted_by_name() {
    let pair = Pair::start_without_superuser().await;
    let rdsadmin = heartbeat(&pair.source).await;
    let (source, _target, exempt) = prepared(&pair).await;
    close(&source, 2, &[]).await;
    let wal = source.wal_proof().unwrap();
    let marker = wal.marker("m/2", &[]).await.unwrap();
    let since = &marker.look;
    assert_eq!(found(&source, since, &exempt).await, Finding::Unwritten);
    rdsadmin.run(BEAT).await;
    rdsadmin
        .run("BEGIN; SAVEPOINT s; DELETE FROM beats; RELEASE s; COMMIT")
        .await;
    let accepted = found(&source, since, &exempt).await;
    let Finding::Accepted(strangers) = accepted else {
        panic!("{accepted:?}");
    };
    assert!(strangers.count >= 2, "{strangers:?}");
    assert_eq!(strangers.not_closable, ["rdsadmin"]);
    // From there one reaches what all databases share.
    rdsadmin.run("ALTER ROLE app CONNECTION LIMIT 9").await;
    assert_eq!(found(&source, since, &exempt).await, Finding::Written(1));
}
