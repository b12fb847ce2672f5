//! Where readers are after a migration, and how they come back.

use std::fs;

use anyhow::{Context, Result, ensure};
use pointsman_lab::{
    GateOptions,
    postgres::{PostgresServer, Ways, start_standby},
};
use serde_json::Value;

use super::support::{NAME, TestEnvironment, connect, options};

impl TestEnvironment {
    /// The port of the server that takes new connections to the readers of `orders`.
    async fn reader_of_orders(&self) -> Result<i32> {
        let mut databases = self.lab.databases.iter();
        let orders = databases.find(|database| database.name == "orders");
        let at = self.lab.reader(0, orders.context("orders")?);
        let session = connect(at, "orders").await?;
        let asked = session.client().query_one("SELECT inet_server_port()", &[]);
        let port = asked.await?.get(0);
        session.close().await;
        Ok(port)
    }

    /// The row of `name` in a list of `database list`.
    async fn listed(&self, list: &str, name: &str) -> Result<Value> {
        let verb = ["database", "list"];
        let shown = self.lab.control_plane.cli_json(&verb).await?;
        let mut rows = shown[list].as_array().into_iter().flatten();
        rows.find(|row| row["name"] == name)
            .cloned()
            .with_context(|| format!("{name} is not in {shown:#}"))
    }

    /// Makes `server` known.
    async fn declare(&self, server: &PostgresServer) -> Result<()> {
        let folder = self.lab.scratch.path();
        let ways = Ways {
            fence: "sql",
            control: server.address(),
            replication: None,
        };
        let file = folder.join("another.toml");
        fs::write(&file, server.declaration(ways, folder)?)?;
        let apply = ["database", "apply", &file.to_string_lossy()];
        self.cli_ok(&apply).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_come_back_once_there_is_a_standby_of_the_new_writer() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    let (blue, green) = (&env.lab.pair.source, &env.lab.pair.target);
    let refused = env.cli(&["flip", "orders", "--readers", "blue"]).await?;
    ensure!(
        refused.stderr.contains("migration cancel"),
        "it does not say what ends the migration: {refused:?}"
    );
    env.switch().await?;
    ensure!(env.listed("databases", "orders").await?["writer"]["draining"][0] == "blue");
    env.proven().await?;
    env.cli_ok(&["migration", "complete", NAME]).await?;
    for route in ["writer", "reader"] {
        let route = &env.listed("databases", "orders").await?[route];
        ensure!(route["servers"][0] == "green", "{route:#}");
        ensure!(route["draining"] == serde_json::json!([]), "{route:#}");
    }
    ensure!(env.listed("servers", "blue").await?["closed_by"] == NAME);
    ensure!(env.listed("servers", "green").await?["closed_by"] == "");
    let table = env.cli(&["database", "list"]).await?.stdout;
    ensure!(table.contains("primary, closed by m"), "{table}");
    ensure!(env.reader_of_orders().await? == i32::from(green.address().port()));

    // The former writer is closed, and no standby of the new one.
    let refused = env
        .cli(&["flip", "orders", "--readers", blue.name()])
        .await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("it is a primary"), "{refused:?}");

    let red = start_standby("red", env.lab.scratch.path(), green).await?;
    env.declare(&red).await?;
    let flipped = env
        .cli(&["flip", "orders", "--readers", "red"])
        .await?
        .stdout;
    ensure!(flipped.contains("readers of orders go to red"), "{flipped}");
    ensure!(env.reader_of_orders().await? == i32::from(red.address().port()));
    let writer = &env.listed("databases", "orders").await?["writer"];
    ensure!(writer["servers"][0] == "green", "{writer:#}");
    Ok(())
}
