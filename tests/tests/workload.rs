//! The verifying clients and the bare cutover, on real servers: what they promise to notice, they notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use pointsman_lab::{
    postgres::{PairOptions, PostgresPair, PostgresServer},
    scratch::Scratch,
    workload::{
        Access, ClientRecord, FailureClass, Record, Role, Route, Switch, Workload, WorkloadOptions,
        verify::{self, WriteAudit},
    },
};
use pointsman_tests::bare::{Bare, Servers};
use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(20);

struct Fixture {
    pair: PostgresPair,
    databases: Vec<String>,
    _scratch: Scratch,
}

impl Fixture {
    async fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let options = PairOptions::default();
        let pair = PostgresPair::start(scratch.path(), &options).await?;
        Ok(Self {
            pair,
            databases: options.databases,
            _scratch: scratch,
        })
    }

    /// Twelve writers and four readers, all straight at the source.
    fn options(&self) -> WorkloadOptions {
        self.options_over(&Route::Fixed(self.pair.source.address()))
    }

    fn options_over(&self, route: &Route) -> WorkloadOptions {
        let accesses = self.databases.iter().map(|datname| Access {
            datname: datname.clone(),
            writer: vec![route.clone()],
            reader: vec![route.clone()],
        });
        let mut options = WorkloadOptions::over(accesses.collect());
        options.writers = 12;
        options
    }

    async fn verify(&self, record: &Record) -> Result<WriteAudit> {
        verify::check(record, &self.pair.source).await
    }

    /// Runs SQL in one database of the source as the superuser.
    async fn sql(&self, datname: &str, sql: &str) -> Result<()> {
        let session = self.pair.source.client(datname).await?;
        Ok(session.batch_execute(sql).await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_calm_run_is_clean_and_no_client_sees_an_error() -> Result<()> {
    let fixture = Fixture::start().await?;
    let workload = Workload::start(&fixture.options())?;
    workload.more_acked(300, DEADLINE).await?;
    let record = workload.stop(DEADLINE).await?;
    assert_eq!(record.last_errors(5), "none");
    let audit = fixture.verify(&record).await?;
    assert!(audit.is_clean(), "{audit}");
    assert_eq!(
        audit.rows,
        record.acked_writes(),
        "each row was acknowledged"
    );
    let reads = record.readers().map(|reader| reader.events.len());
    assert!(reads.min() > Some(0), "every reader was answered");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_changed_behind_the_clients_backs_turn_the_verdict_red() -> Result<()> {
    let fixture = Fixture::start().await?;
    let workload = Workload::start(&fixture.options())?;
    workload.more_acked(200, DEADLINE).await?;
    let record = workload.stop(DEADLINE).await?;
    assert!(fixture.verify(&record).await?.is_clean());

    // Client 1 works in the first database, client 2 in the second.
    let (first, second) = (&fixture.databases[0], &fixture.databases[1]);
    let delete = "DELETE FROM writes WHERE client = 1 AND number = 3";
    fixture.sql(first, delete).await?;
    let repeat = "INSERT INTO writes (client, number) SELECT client, max(number) FROM writes WHERE client = 2 GROUP BY client";
    fixture.sql(second, repeat).await?;
    let swap = "UPDATE writes SET number = 9 - number WHERE client = 6 AND number IN (4, 5)";
    fixture.sql(second, swap).await?;
    let invent = "INSERT INTO writes (client, number) VALUES (3, 1000000)";
    fixture.sql(first, invent).await?;

    let audit = fixture.verify(&record).await?;
    let found = [
        &audit.lost,
        &audit.duplicated,
        &audit.out_of_order,
        &audit.phantom,
    ];
    let found = found.map(|findings| findings.iter().map(|f| f.client).collect::<Vec<_>>());
    assert_eq!(found, [vec![1], vec![2], vec![6], vec![3]], "{audit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_cut_off_is_found_and_not_repeated() -> Result<()> {
    let fixture = Fixture::start().await?;
    let source = &fixture.pair.source;
    let workload = Workload::start(&fixture.options())?;
    workload.more_acked(100, DEADLINE).await?;

    // A commit that waits for a standby which does not exist is through on this server, and its client does not
    // learn of it when the session is ended.
    let operator = source.client("postgres").await?;
    operator
        .batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await?;
    operator.batch_execute("SELECT pg_reload_conf()").await?;
    let waiting = "SELECT count(*) = 12 FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'SyncRep'";
    eventually(&operator, waiting).await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'SyncRep'";
    operator.batch_execute(end).await?;
    recorded(&workload, "each writer is in doubt", |record| {
        record.in_doubt_writes() >= 12
    })
    .await?;
    operator
        .batch_execute("ALTER SYSTEM RESET synchronous_standby_names")
        .await?;
    operator.batch_execute("SELECT pg_reload_conf()").await?;

    workload.more_acked(100, DEADLINE).await?;
    let record = workload.stop(DEADLINE).await?;
    let audit = fixture.verify(&record).await?;
    assert!(audit.is_clean(), "{audit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_a_session_once_costs_a_session_client_one_error_and_the_others_none() -> Result<()>
{
    let fixture = Fixture::start().await?;
    let mut options = fixture.options();
    // Slow enough that an idle session is ended between two writes.
    options.write_every = Duration::from_millis(400);
    options.reconnect_every = Duration::from_millis(400);
    let workload = Workload::start(&options)?;
    workload.more_acked(48, DEADLINE).await?;
    let operator = fixture.pair.source.client("postgres").await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND state = 'idle'";
    operator.batch_execute(end).await?;
    workload.more_acked(48, DEADLINE).await?;
    let record = workload.stop(DEADLINE).await?;
    for client in &record.clients {
        let errors: Vec<_> = client.failures().map(|(_, failure)| failure).collect();
        assert!(errors.len() <= 1, "{:?}: {errors:?}", client.identity);
        let classes = errors.iter().all(|failure| match client.identity.role {
            Role::Writer => matches!(
                failure.class,
                FailureClass::SessionLost | FailureClass::InDoubt
            ),
            Role::Reader => failure.class == FailureClass::SessionLost,
        });
        assert!(classes, "{:?}: {errors:?}", client.identity);
    }
    assert_ne!(record.last_errors(1), "none", "sessions were ended");
    assert!(fixture.verify(&record).await?.is_clean());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_turns_read_only_refuses_and_leaves_nobody_in_doubt() -> Result<()> {
    let fixture = Fixture::start().await?;
    let workload = Workload::start(&fixture.options())?;
    workload.more_acked(100, DEADLINE).await?;
    let operator = fixture.pair.source.client("postgres").await?;
    let break_it = "ALTER SYSTEM SET default_transaction_read_only = on";
    operator.batch_execute(break_it).await?;
    operator.batch_execute("SELECT pg_reload_conf()").await?;
    recorded(&workload, "every writer is refused", |record| {
        record.writers().all(was_refused)
    })
    .await?;
    operator
        .batch_execute("ALTER SYSTEM RESET default_transaction_read_only")
        .await?;
    operator.batch_execute("SELECT pg_reload_conf()").await?;
    workload.more_acked(100, DEADLINE).await?;
    let record = workload.stop(DEADLINE).await?;
    assert_eq!(record.in_doubt_writes(), 0, "a refusal is an answer");
    assert!(fixture.verify(&record).await?.is_clean());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_loses_nothing_that_was_acknowledged() -> Result<()> {
    let fixture = Fixture::start().await?;
    let workload = Workload::start(&fixture.options())?;
    workload.more_acked(150, DEADLINE).await?;
    fixture.pair.source.crash().await?;
    fixture.pair.source.start().await?;
    workload.more_acked(150, DEADLINE).await?;
    let record = workload.stop(DEADLINE).await?;
    assert_ne!(record.last_errors(1), "none", "the crash was noticed");
    let audit = fixture.verify(&record).await?;
    assert!(audit.is_clean(), "{audit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bare_cutover_goes_forward_and_back_without_loss() -> Result<()> {
    let fixture = Fixture::start().await?;
    let PostgresPair { source, target, .. } = &fixture.pair;
    let servers = Servers {
        source: source.address(),
        target: target.address(),
        superuser: "postgres".to_owned(),
        datnames: fixture.databases.clone(),
    };
    let bare = Bare::prepare(&servers).await?;
    let workload = Workload::start(&fixture.options_over(&Route::Published(bare.writer())))?;
    workload.more_acked(100, DEADLINE).await?;
    let there = workload.clock().now();
    bare.forward().await?;
    workload.all_through(port(target), there, DEADLINE).await?;
    bare.arm().await?;
    workload.more_acked(100, DEADLINE).await?;
    let back = workload.clock().now();
    bare.back().await?;
    workload.all_through(port(source), back, DEADLINE).await?;
    let end = workload.clock().now();
    let record = workload.stop(DEADLINE).await?;

    let audit = fixture.verify(&record).await?;
    assert!(audit.is_clean(), "{audit}");
    let (blue, green) = (port(source), port(target));
    for (hold, old, new, until) in [(there, blue, green, back), (back, green, blue, end)] {
        let figures = record.figures(&Switch {
            hold,
            old,
            new,
            until,
            fault: None,
        })?;
        assert!(
            figures.write_pause_ms > 0.0,
            "one writer at a time: {figures:?}"
        );
    }
    Ok(())
}

/// Waits until what the clients have recorded satisfies `holds`.
async fn recorded(workload: &Workload, what: &str, holds: impl Fn(&Record) -> bool) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    loop {
        let record = workload.record();
        if holds(&record) {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "{what}: not within {DEADLINE:?}; {}",
            record.last_errors(3)
        );
        sleep(Duration::from_millis(5)).await;
    }
}

fn was_refused(writer: &ClientRecord) -> bool {
    let mut failures = writer.failures();
    failures.any(|(_, failure)| failure.sqlstate.as_deref() == Some("25006"))
}

async fn eventually(session: &tokio_postgres::Client, question: &str) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    loop {
        let row = session.query_one(question, &[]).await?;
        if row.try_get(0)? {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not within {DEADLINE:?}: {question}");
        sleep(Duration::from_millis(5)).await;
    }
}

fn port(server: &PostgresServer) -> u16 {
    server.address().port()
}
