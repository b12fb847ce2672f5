//! A promotion by an API that takes longer than the hold, with clients that go on trying.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{
    GateOptions, Lab, LabOptions,
    postgres::{Hosting, PostgresServer},
    workload::{EventKind, Moment, Record, verify},
};
use pointsman_tests::demo::NO_AUTOVACUUM;
use serde_json::Value;

use super::support::{NAME, TestEnvironment, refusals, short_hold};

const BUDGET: Duration = Duration::from_secs(3);

/// A pair that a cloud runs. Its API promotes when it is told to.
fn managed() -> LabOptions {
    LabOptions {
        hosting: Hosting::Managed,
        tls: true,
        server_settings: NO_AUTOVACUUM.to_owned(),
        fence: "sql".to_owned(),
        promotion_takes: Duration::from_secs(7200),
        ..short_hold(BUDGET, GateOptions::default())
    }
}

fn says(status: &Value, words: &str) -> bool {
    let headline = status["headline"].as_str();
    headline.is_some_and(|headline| headline.contains(words))
}

/// Whoever was parked until now is through the hold's end, and nobody asks a server any more.
async fn everybody_is_refused(lab: &Lab) -> Result<()> {
    for _ in 0..2 {
        for refusal in refusals(lab).await? {
            ensure!(refusal.sqlstate.is_none(), "a server was asked: {refusal}");
        }
    }
    Ok(())
}

/// The moments of the acknowledgements that `server` gave.
fn acknowledged_by(record: &Record, server: &PostgresServer) -> Vec<Moment> {
    let port = server.address().port();
    let events = record.writers().flat_map(|client| &client.events);
    let by_it = events
        .filter(|event| matches!(event.kind, EventKind::Acked { server, .. } if server == port));
    by_it.map(|event| event.at).collect()
}

/// Each row of the source is on the target: nobody wrote behind the fence.
async fn nothing_is_left_behind(lab: &Lab) -> Result<()> {
    let (source, target) = (&lab.pair.source, &lab.pair.target);
    let superuser = source.client("postgres").await?;
    for database in &lab.databases {
        let name = &database.name;
        let open = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true");
        superuser.batch_execute(&open).await?;
        let mut rows = Vec::new();
        for server in [source, target] {
            let found = verify::read_rows(&*server.client(name).await?).await?;
            let found = found.iter().map(|row| (row.client, row.number));
            rows.push(found.collect::<BTreeSet<_>>());
        }
        let behind: Vec<_> = rows[0].difference(&rows[1]).collect();
        ensure!(behind.is_empty(), "written behind the fence: {behind:?}");
        ensure!(rows[0].len() < rows[1].len(), "the target was not written");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_go_on_trying_are_served_once_a_long_promotion_is_through() -> Result<()> {
    let env = TestEnvironment::ready(managed()).await?;
    let announced = "new connections are refused from the end of the hold until it is through";
    env.until("the refusals are announced", |status| {
        says(status, announced)
    })
    .await?;
    let switch = env.begin_switch()?;
    let under_way = |status: &Value| {
        status["state"] == "promoting" && says(status, "new connections are refused from ")
    };
    env.until("the API promotes", under_way).await?;
    // The first of them are parked and wait for the hold's end.
    everybody_is_refused(&env.lab).await?;
    let refused = env.now();
    let status = env.until("it is still promoted", under_way).await?;
    ensure!(!says(&status, "stalled"), "{status:#}");
    let cloud = env.lab.cloud.as_ref().context("no cloud")?;
    let told = env.now();
    cloud.promotion.hurry();
    let output = switch.ended().await?;
    ensure!(output.code == Some(0), "{output:?}");
    env.served_by(&env.lab.pair.target, told).await?;
    ensure!(cloud.promotion.requests() == 1);

    let (lab, record) = env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    let before = acknowledged_by(&record, &lab.pair.source);
    let after = acknowledged_by(&record, &lab.pair.target);
    let (last, first) = (before.iter().max(), after.iter().min());
    ensure!(last < first && last < Some(&refused) && Some(&told) < first);
    nothing_is_left_behind(&lab).await?;
    let status = ["migration", "status", NAME];
    let status = lab.control_plane.cli_json(&status).await?;
    ensure!(status["state"] == "baking", "{status:#}");
    Ok(())
}
