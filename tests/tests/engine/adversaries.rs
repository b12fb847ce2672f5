//! Sessions and servers that slip through a plain switch, each held against its rule.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pointsman_catalog::UnixMillis;
use pointsman_cutover::{Settings, machine::State, migration::UnlistedDatabasePolicy};
use pointsman_lab::postgres::{PostgresServer, start_standby};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    servers::{SOON, eventually, write},
    support::{TestEnvironment, is_in, story},
};

/// A session that writes one row after the other, until it is told to stop or ended.
struct Writer {
    client: i32,
    acknowledged: Acknowledged,
    stop: Arc<AtomicBool>,
    task: JoinSet<()>,
}

/// The numbers of the rows that a client was told are written.
type Acknowledged = Arc<Mutex<BTreeSet<i64>>>;

impl Writer {
    fn start<T: Future<Output = ()> + Send + 'static>(
        client: i32,
        write: impl FnOnce(Acknowledged, Arc<AtomicBool>) -> T,
    ) -> Self {
        let acknowledged = Acknowledged::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        task.spawn(write(Arc::clone(&acknowledged), Arc::clone(&stop)));
        Self {
            client,
            acknowledged,
            stop,
            task,
        }
    }

    fn written(&self) -> usize {
        self.acknowledged.lock().expect("no panic").len()
    }

    /// Ends the writer, and expects each row that it was told is written to be on `server`.
    async fn kept_every_row_on(self, server: &PostgresServer) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        self.task.join_all().await;
        let acknowledged = self.acknowledged.lock().expect("no panic").clone();
        let session = server.client("orders").await?;
        let sql = "SELECT number FROM writes WHERE client = $1";
        let there: BTreeSet<i64> = session
            .query(sql, &[&self.client])
            .await?
            .iter()
            .map(|row| row.get(0))
            .collect();
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        ensure!(
            lost.is_empty(),
            "{} of {} rows that were acknowledged are not on {}, from {:?} on",
            lost.len(),
            acknowledged.len(),
            server.name(),
            lost[0]
        );
        Ok(())
    }
}

/// Writes over the replication protocol, as a walsender.
async fn walsender_writer(env: &TestEnvironment) -> Result<Writer> {
    let admin = env.pair.source.client("orders").await?;
    admin
        .batch_execute(
            "GRANT INSERT ON writes TO repl; GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO repl",
        )
        .await?;
    let mut session = env.pair.source.walsender("repl", "orders").await?;
    Ok(Writer::start(71, async move |acknowledged, stop| {
        for number in 1.. {
            let sql = format!("INSERT INTO writes (client, number) VALUES (71, {number})");
            if stop.load(Ordering::SeqCst) || session.run(&sql).await.is_err() {
                return;
            }
            acknowledged.lock().expect("no panic").insert(number);
        }
    }))
}

/// A reader session on the standby that tries to write all the time.
async fn writing_reader(env: &TestEnvironment, client: i32) -> Result<Writer> {
    let session = env.pair.target.client_as("app", "orders").await?;
    Ok(Writer::start(client, async move |acknowledged, stop| {
        let sql = "INSERT INTO writes (client, number) VALUES ($1, $2)";
        for number in 1.. {
            if stop.load(Ordering::SeqCst) || session.is_closed() {
                return;
            }
            if session.execute(sql, &[&client, &number]).await.is_ok() {
                acknowledged.lock().expect("no panic").insert(number);
            }
        }
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_what_a_walsender_was_told_is_written_is_on_the_target() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let writer = walsender_writer(&env).await?;
    eventually("the walsender writes", async || Ok(writer.written() > 20)).await?;
    let status = env.engine().switch("m").await?;
    println!("{}", story(&status));
    writer.kept_every_row_on(&env.pair.target).await?;
    ensure!(matches!(status.migration.state(), State::Baking { .. }));
    Ok(())
}

/// What `repl` comes to that writes on the closed source over the replication protocol.
async fn written_by_replication(env: &TestEnvironment) -> Result<()> {
    let mut session = env.pair.source.walsender("repl", "orders").await?;
    session
        .run("INSERT INTO writes (client, number) VALUES (19, 1)")
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_replication_role_does_not_get_in_to_the_source_in_the_bake() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let admin = env.pair.source.client("orders").await?;
    admin
        .batch_execute("GRANT INSERT ON writes TO repl")
        .await?;
    // Where the control role may not end a superuser's session, it would keep the switch from closing.
    drop(admin);
    env.engine().switch("m").await?;
    env.proven().await?;
    let refused = written_by_replication(&env).await.unwrap_err();
    let words = format!("{refused:#}");
    let by_login = words.contains("not permitted to log in");
    let by_connect = words.contains("User does not have CONNECT privilege");
    ensure!(by_login || by_connect, "{words}");
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    written_by_replication(&env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_the_role_of_a_standby_that_stays_is_named_and_kept() -> Result<()> {
    let mut env = TestEnvironment::new(Settings::default()).await?;
    let standby = violet_streams(&mut env).await?;
    env.started().await?;
    env.engine().switch("m").await?;
    let status = env.proven().await?;
    let named = "repl can log in to the source";
    ensure!(story(&status).contains(named), "{}", story(&status));
    standby.stop().await?;
    standby.start().await?;
    streams_to_violet(&env).await
}

/// Another standby of the source, by role `repl`. Migrations that are made from now on know of it.
pub(super) async fn violet_streams(env: &mut TestEnvironment) -> Result<PostgresServer> {
    let standby = start_standby("violet", env.folder(), &env.pair.source).await?;
    standby.stop().await?;
    let follows = standby.data_folder().join("postgresql.auto.conf");
    let settings = fs::read_to_string(&follows)?.replace("user=postgres", "user=repl");
    fs::write(&follows, settings)?;
    standby.start().await?;
    streams_to_violet(env).await?;
    env.waive("S6=violet")?;
    Ok(standby)
}

async fn streams_to_violet(env: &TestEnvironment) -> Result<()> {
    let source = env.pair.source.client("postgres").await?;
    let streams =
        "SELECT FROM pg_stat_replication WHERE application_name = 'violet' AND usename = 'repl'";
    eventually("the standby streams", async || {
        Ok(!source.query(streams, &[]).await?.is_empty())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_no_session_on_the_standby_writes_what_a_rollback_would_lose() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    env.started().await?;
    let mut readers = Vec::new();
    for client in [81, 82, 83] {
        readers.push(writing_reader(&env, client).await?);
    }
    env.engine().switch("m").await?;
    env.proven().await?;
    let status = env.engine().rollback("m", false).await?;
    is_in(&status, &State::RolledBack)?;
    for reader in readers {
        reader.kept_every_row_on(&env.pair.source).await?;
    }
    Ok(())
}

/// A switch whose promotion was sent and has not arrived, stopped for an operator.
async fn promotion_under_way() -> Result<TestEnvironment> {
    let settings = Settings {
        promote: Some(Duration::from_secs(1)),
        ..Settings::default()
    };
    let env = TestEnvironment::new(settings).await?;
    env.started().await?;
    let caught = env.target_gate.hold_at("THEN pg_promote");
    let status = env.engine().switch("m").await?;
    caught.within(Duration::from_secs(1)).await?;
    ensure!(matches!(
        status.migration.state(),
        State::NeedsOperator { .. }
    ));
    Ok(env)
}

#[tokio::test(flavor = "multi_thread")]
async fn s29_a_promotion_is_tried_again_under_a_deadline_that_is_on_record() -> Result<()> {
    let env = promotion_under_way().await?;
    let deadline = async || {
        let status = env.engine().status("m")?;
        status.migration.facts.promotion_deadline().context("none")
    };
    let first = deadline().await?;
    eventually("no request under the first deadline counts", async || {
        let clock = env.pair.target.client("postgres").await?;
        let now = clock.query_one(NOW, &[]).await?.get::<_, i64>(0);
        Ok(first.has_passed(UnixMillis(now.try_into()?)))
    })
    .await?;
    let caught = env.target_gate.hold_at("THEN pg_promote");
    let (settled, ()) = tokio::try_join!(
        async { Ok(env.engine().resolve("m", "retry").await?) },
        async {
            caught.within(SOON).await?;
            ensure!(deadline().await? > first, "the request is under way");
            Ok(())
        }
    )?;
    println!("{}", story(&settled));
    Ok(())
}

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8";

/// Lets the held promotion arrive, waits until the target has dealt with it and `others`
/// control sessions are left there, and says whether the target is a primary then.
async fn promoted_late(env: &TestEnvironment, others: i64) -> Result<bool> {
    let target = env.pair.target.client("postgres").await?;
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pointsman/%'";
    env.target_gate.release();
    eventually("the late request has been dealt with", async || {
        Ok(target.query_one(sessions, &[]).await?.get::<_, i64>(0) <= others)
    })
    .await?;
    // A promotion that was accepted ends within milliseconds; this looks for far longer.
    let look = "SELECT pg_is_in_recovery()";
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        if !target.query_one(look, &[]).await?.get::<_, bool>(0) {
            return Ok(true);
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(false)
}

async fn is_open(server: &PostgresServer) -> Result<bool> {
    let session = server.client("postgres").await?;
    let sql = "SELECT datallowconn FROM pg_database WHERE datname = 'orders'";
    Ok(session.query_one(sql, &[]).await?.get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_the_target_hears_nothing_of_an_opening_after_the_intent_to_promote() -> Result<()> {
    let env = promotion_under_way().await?;
    let status = env.engine().resolve("m", "open-source").await?;
    is_in(&status, &State::RolledBack)?;
    write(&env.pair.source, 73, 1).await?;
    let standbys = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    let admin = env.pair.source.client("postgres").await?;
    let fed: i64 = admin.query_one(standbys, &[]).await?.get(0);
    let promoted = promoted_late(&env, 1).await?;
    let open = is_open(&env.pair.target).await?;
    ensure!(
        fed == 0 && !open,
        "beside the open source: {fed} standbys fed by it, the target promoted {promoted} and \
         open {open}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_a_promotion_that_arrives_after_the_undo_does_nothing() -> Result<()> {
    let env = promotion_under_way().await?;
    // The target cannot be asked any more; an operator who asserts that it is down is wrong.
    let closed = pointsman_lab::ports::Port::reserve()?;
    env.move_control_of_target(closed.on_loopback()).await?;
    let status = env
        .engine()
        .resolve("m", "open-source-target-is-down")
        .await?;
    println!("{}", story(&status));
    write(&env.pair.source, 73, 1).await?;
    eventually("the opening reaches the standby", async || {
        is_open(&env.pair.target).await
    })
    .await?;
    ensure!(
        !promoted_late(&env, 0).await?,
        "the late request promoted the target beside the open source"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_an_idle_database_outside_the_catalogue_never_has_two_primaries() -> Result<()> {
    let env = TestEnvironment::new(Settings::default()).await?;
    let admin = env.pair.source.client("postgres").await?;
    admin
        .batch_execute("CREATE DATABASE idle OWNER app")
        .await?;
    // Where the control role is no superuser, it could not end this session.
    drop(admin);
    let idle = env.pair.source.client_as("app", "idle").await?;
    idle.batch_execute("CREATE TABLE t (id int PRIMARY KEY)")
        .await?;

    env.create("undecided", &[]).await?;
    let report = env.engine().preflight("undecided").await?;
    let blocks: Vec<_> = report.blocking().map(|f| f.message.clone()).collect();
    ensure!(
        blocks.iter().any(|says| says.contains("idle")),
        "preflight does not block on the idle database: {blocks:?}"
    );
    env.engine().cancel("undecided").await?;

    env.create("m", &[("idle", UnlistedDatabasePolicy::StaysClosed)])
        .await?;
    env.engine().preflight("m").await?;
    env.engine().start("m").await?;
    let status = env.engine().switch("m").await?;
    println!("{}", story(&status));
    ensure!(matches!(status.migration.state(), State::Baking { .. }));
    let on_source = idle.execute("INSERT INTO t VALUES (1)", &[]).await.is_ok();
    let fresh = env.pair.source.client_as("app", "idle").await.is_ok();
    let on_target = env.pair.target.client_as("app", "idle").await.is_ok();
    ensure!(
        !on_source && !fresh && !on_target,
        "`idle` takes writes: on the source's old session {on_source}, on a new one there {fresh}, \
         on the target {on_target}"
    );
    Ok(())
}
