//! What goes wrong after the promotion was asked for: both servers stay closed until an
//! operator decides.

use std::time::Duration;

use anyhow::{Result, ensure};
use pointsman_lab::{GateOptions, LabOptions, postgres::PostgresServer};

use super::{
    seen::connect_errors,
    support::{NAME, PROMOTION, SOON, TestEnvironment, connect, options, refusals, tell},
};

const BUDGET: Duration = Duration::from_secs(6);

impl TestEnvironment {
    /// A switch whose request to promote was swallowed by the network, together with the
    /// target.
    async fn needs_an_operator() -> Result<Self> {
        let options = LabOptions {
            settings: format!(
                "[hold]\nbudget_ms = {}\n[switch]\npromote_ms = 1000\n",
                BUDGET.as_millis()
            ),
            ..options(GateOptions {
                target_control: true,
                ..GateOptions::default()
            })
        };
        let env = Self::ready(options).await?;
        let caught = env.target_gate()?.hold_at(PROMOTION);
        let switch = env.switch_until(caught).await?;
        env.target_gate()?.sever();
        let output = switch.ended().await?;
        ensure!(output.code == Some(1), "{output:?}");
        for word in ["needs_operator", "green", "resolve", "open-source"] {
            ensure!(
                output.stderr.contains(word),
                "nobody said {word}: {output:?}"
            );
        }
        env.settled("needs_operator").await?;
        Ok(env)
    }

    async fn resolve(&self, choice: &str) -> Result<Option<i32>> {
        let resolve = ["migration", "resolve", NAME, "--choice", choice];
        Ok(self.cli(&resolve).await?.code)
    }

    /// Neither server lets an application in.
    async fn both_are_closed(&self) -> Result<()> {
        let pair = &self.lab.pair;
        for server in [&pair.source, &pair.target] {
            is_closed(server).await?;
        }
        Ok(())
    }
}

async fn is_closed(server: &PostgresServer) -> Result<()> {
    let name = server.name();
    match connect(server.address(), "orders").await {
        Ok(_session) => anyhow::bail!("{name} let somebody in"),
        Err(refusal) => {
            tell(&format!("{name}: {refusal}"));
            ensure!(refusal.sqlstate.is_some(), "{name} is down: {refusal}");
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_promote_intent_an_unreachable_target_needs_an_operator() -> Result<()> {
    let env = TestEnvironment::needs_an_operator().await?;
    env.both_are_closed().await?;
    // Past the budget of the hold the sidecars refuse by themselves.
    for refusal in refusals(&env.lab).await? {
        ensure!(refusal.sqlstate.is_none(), "a server was asked: {refusal}");
    }
    let status = env.cli(&["migration", "status", NAME]).await?;
    for word in [
        "stopped at promote",
        "routes refuse once the hold ends",
        "green",
        "retry",
        "open-source",
        "open-source-target-is-down",
    ] {
        ensure!(status.stdout.contains(word), "status does not say {word:?}");
    }

    // Nothing new can be proven yet.
    ensure!(env.resolve("open-source").await? == Some(1));
    env.settled("needs_operator").await?;
    env.both_are_closed().await?;

    env.target_gate()?.restore();
    let resolved = env.now();
    ensure!(env.resolve("retry").await? == Some(0));
    env.settled("baking").await?;
    env.served_by(&env.lab.pair.target, resolved).await?;
    env.proven().await?;
    env.roll_back().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_opens_the_source_once_the_target_is_proven_harmless() -> Result<()> {
    let env = TestEnvironment::needs_an_operator().await?;
    env.target_gate()?.restore();
    let resolved = env.now();
    ensure!(env.resolve("open-source").await? == Some(0));
    let status = env.settled("rolled_back").await?;
    tell(&status.headline);
    env.served_by(&env.lab.pair.source, resolved).await?;
    // Late errors would mean that somebody is still sent elsewhere.
    let served = env.now();
    env.workload.more_acked(100, SOON).await?;
    let (lab, record) = env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    let errors = connect_errors(&record, served);
    ensure!(errors.is_empty(), "{errors:#?}");
    // The target hears of nothing that the source does now.
    let target = lab.pair.target.client("postgres").await?;
    let standby = target.query_one("SELECT pg_is_in_recovery()", &[]).await?;
    ensure!(standby.get::<_, bool>(0), "green was promoted");
    is_closed(&lab.pair.target).await
}
