//! What goes wrong before the promotion was asked for: the switch is taken back by itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use pointsman_lab::{
    GateOptions, LabOptions,
    gate::Gate,
    postgres::PostgresServer,
    workload::{EventKind, Habit, Moment},
};
use tokio::time::Instant;

use super::{
    seen::{connect_errors, longest_wait_ms},
    support::{MARKER, SOON, TestEnvironment, Verb, options, short_hold, tell},
};

/// What a hold lasts at most when nothing else is set.
const DEFAULT_BUDGET: Duration = Duration::from_secs(10);

/// Less than it takes to find out, one after the other, that a target answers neither on an
/// open session nor to a new one.
const SHORT_BUDGET: Duration = Duration::from_secs(6);

/// A target that is not there after this long gets no more of the hold.
const CATCH_UP: &str = "[switch]\ncatch_up_ms = 1000\n";

impl TestEnvironment {
    /// The switch ends as undone, says each of `messages`, and every client is served by the
    /// source again.
    async fn is_undone(&self, switch: Verb, messages: &[&str]) -> Result<()> {
        let output = switch.ended().await?;
        ensure!(output.code == Some(1), "{output:?}");
        for word in messages {
            ensure!(
                output.stderr.contains(word),
                "nobody said {word:?}: {output:?}"
            );
        }
        let undone = self.now();
        self.settled("undone").await?;
        self.served_by(&self.lab.pair.source, undone).await
    }

    /// Nobody's connection was refused, so no hold outlived its budget, and nobody waited longer.
    fn everybody_was_released(&self, since: Moment, budget: Duration) -> Result<()> {
        let record = self.workload.record();
        let errors = connect_errors(&record, since);
        ensure!(errors.is_empty(), "clients were refused: {errors:#?}");
        let longest = longest_wait_ms(&record);
        tell(&format!("the longest wait was {longest:.0} ms"));
        let budget = budget.as_secs_f64() * 1000.0;
        ensure!(longest < budget, "somebody waited {longest:.0} ms");
        Ok(())
    }

    /// Waits until new connections of every reader lead to `server`.
    async fn readers_reach(&self, server: &PostgresServer) -> Result<()> {
        let (since, port) = (self.now(), server.address().port());
        let deadline = Instant::now() + SOON;
        loop {
            self.workload.more_acked(5, SOON).await?;
            let record = self.workload.record();
            let mut readers = record
                .readers()
                .filter(|client| client.identity.habit == Habit::Reconnects);
            let there = readers.all(|client| {
                client.events.iter().any(|event| {
                    matches!(event.kind, EventKind::Read { server, began }
                        if server == port && began >= since)
                })
            });
            if there {
                return Ok(());
            }
            let name = server.name();
            ensure!(
                Instant::now() < deadline,
                "not every reader is sent to {name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_target_undoes_the_switch() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        target_control: true,
        ..GateOptions::default()
    };
    let mut options = short_hold(SHORT_BUDGET, gates);
    options.settings += CATCH_UP;
    let env = TestEnvironment::ready(options).await?;
    let began = env.now();
    // Once with connections that break, once with a target that falls silent.
    let breaks: [fn(&Gate); 2] = [Gate::sever, Gate::black_hole];
    for is_gone in breaks {
        let caught = env.source_gate()?.hold_at(MARKER);
        let switch = env.switch_until(caught).await?;
        is_gone(env.target_gate()?);
        env.source_gate()?.release();
        env.is_undone(switch, &["green"]).await?;
        env.readers_reach(&env.lab.pair.source).await?;
        env.target_gate()?.restore();
        env.readers_reach(&env.lab.pair.target).await?;
        env.everybody_was_released(began, SHORT_BUDGET)?;
    }
    env.switch().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// Stops replay on `target` once it has heard of the closing, and so hears of nothing else: not
/// of the opening either. The fence may end the session that asks.
async fn stuck_behind_the_closing(target: &PostgresServer) -> Result<bool> {
    let session = target.client("postgres").await?;
    let closed = "SELECT FROM pg_database WHERE datname = 'orders' AND NOT datallowconn";
    if session.query(closed, &[]).await?.is_empty() {
        return Ok(false);
    }
    let pause = "SELECT pg_wal_replay_pause()";
    session.execute(pause, &[]).await?;
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn stuck_replay_undoes_the_switch_and_readers_return() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let options = LabOptions {
        settings: CATCH_UP.to_owned(),
        ..options(gates)
    };
    let env = TestEnvironment::ready(options).await?;
    let began = env.now();
    let caught = env.source_gate()?.hold_at(MARKER);
    let switch = env.switch_until(caught).await?;
    let target = &env.lab.pair.target;
    let deadline = Instant::now() + SOON;
    while !matches!(stuck_behind_the_closing(target).await, Ok(true)) {
        ensure!(Instant::now() < deadline, "the closing is not replayed");
    }
    env.source_gate()?.release();
    env.is_undone(switch, &["green", "replay", "1s"]).await?;
    env.readers_reach(&env.lab.pair.source).await?;
    let resume = "SELECT pg_wal_replay_resume()";
    target
        .client("postgres")
        .await?
        .execute(resume, &[])
        .await?;
    env.readers_reach(&env.lab.pair.target).await?;
    env.everybody_was_released(began, DEFAULT_BUDGET)?;

    env.switch().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_sidecar_undoes_the_switch_by_name() -> Result<()> {
    let gates = GateOptions {
        xds_of: Some(1),
        ..GateOptions::default()
    };
    let mut env = TestEnvironment::ready(options(gates)).await?;
    let began = env.now();

    env.xds_gate()?.black_hole();
    env.is_undone(env.begin_switch()?, &["sc1"]).await?;
    env.xds_gate()?.restore();
    env.lab.synced().await?;
    env.everybody_was_released(began, DEFAULT_BUDGET)?;

    // Clients behind a sidecar that stands still wait for as long as it does.
    env.lab.sidecars[1].freeze();
    let output = env.begin_switch()?.ended().await?;
    env.lab.sidecars[1].thaw();
    ensure!(output.code == Some(1), "{output:?}");
    // Which is noticed first, its silence to the rehearsal or the age of its last report,
    // depends on how long before it had reported.
    let noticed = ["silent: sc1", "sc1: it has not reported"];
    let said = |message: &&str| output.stderr.contains(*message);
    ensure!(noticed.iter().any(said), "{output:?}");
    env.served_by(&env.lab.pair.source, env.now()).await?;
    env.lab.synced().await?;

    env.lab.sidecars[1].kill().await?;
    let output = env.begin_switch()?.ended().await?;
    ensure!(output.code == Some(1), "{output:?}");
    ensure!(output.stderr.contains("sc1"), "{output:?}");
    env.lab.sidecars[1].restart().await?;
    env.lab.synced().await?;

    env.switch().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}
