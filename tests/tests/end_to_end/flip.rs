//! The operator's own flip, for a writer that was moved by other means.

use anyhow::{Result, ensure};
use pointsman_lab::GateOptions;

use super::support::{NAME, TestEnvironment, options};

impl TestEnvironment {
    /// Asks for a flip of `orders` to `to`, which is to be refused with each of `reasons`.
    async fn flip_is_refused(&self, to: &str, reasons: &[&str]) -> Result<()> {
        let output = self.cli(&["flip", "orders", "--to", to]).await?;
        ensure!(output.code == Some(1), "{output:?}");
        for word in reasons {
            ensure!(
                output.stderr.contains(word),
                "nobody said {word:?}: {output:?}"
            );
        }
        Ok(())
    }

    /// Which server takes new connections to the writer of `orders`, by its port, through
    /// each sidecar.
    async fn writers_of_orders(&self) -> Result<Vec<i32>> {
        let mut ports = Vec::new();
        for database in self.lab.databases.iter().filter(|d| d.name == "orders") {
            for (number, _) in (0..).zip(&self.lab.sidecars) {
                let at = self.lab.writer(number, database);
                let session = super::support::connect(at, "orders").await?;
                let row = session
                    .client()
                    .query_one("SELECT inet_server_port()", &[])
                    .await?;
                ports.push(row.get(0));
                session.close().await;
            }
        }
        Ok(ports)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flip_needs_its_proofs_or_force() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    let (blue, green) = (&env.lab.pair.source, &env.lab.pair.target);
    let (at_blue, at_green) = (blue.address().port(), green.address().port());

    env.flip_is_refused("green", &["migration m"]).await?;
    env.cli_ok(&["migration", "cancel", NAME]).await?;
    env.flip_is_refused("grey", &["grey", "blue", "green"])
        .await?;

    // The old writer takes writes, also while the new one does.
    let reasons = ["blue", "took a write", "two writers", "--force"];
    env.flip_is_refused("green", &reasons).await?;
    let old = blue.client("postgres").await?;
    let close = "ALTER DATABASE orders ALLOW_CONNECTIONS false";
    old.batch_execute(close).await?;
    // Closed, and the new one is a standby still.
    let reasons = ["green", "not proven to be writable", "promote it first"];
    env.flip_is_refused("green", &reasons).await?;

    let new = green.client("postgres").await?;
    new.execute("SELECT pg_promote(true)", &[]).await?;
    // The closing came along with the WAL.
    let open = "ALTER DATABASE orders ALLOW_CONNECTIONS true";
    new.batch_execute(open).await?;
    env.cli_ok(&["flip", "orders", "--to", "green"]).await?;
    let ports = env.writers_of_orders().await?;
    ensure!(ports == [i32::from(at_green); 2], "{ports:?}");

    // A server that does not answer is not shown to refuse anything.
    old.batch_execute(open).await?;
    drop((old, new));
    env.lab.pair.target.stop().await?;
    let reasons = ["green", "not proven to refuse", "--force"];
    env.flip_is_refused("blue", &reasons).await?;
    env.cli_ok(&["flip", "orders", "--to", "blue", "--force"])
        .await?;
    let ports = env.writers_of_orders().await?;
    ensure!(ports == [i32::from(at_blue); 2], "{ports:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_forced_flip_parks_the_migration_of_its_servers() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    env.switch().await?;
    env.proven().await?;
    env.cli_ok(&["flip", "orders", "--to", "blue", "--force"])
        .await?;
    let status = env
        .until("the migration is parked", |status| {
            status["state"] == "needs_operator"
        })
        .await?;
    let said = status["headline"].as_str().unwrap_or_default();
    let why = "a forced flip sent the writers of orders to blue";
    ensure!(said.contains(why), "{said}");
    // While the route points at blue, nobody closes blue and serves green.
    let refused = env
        .cli(&["migration", "resolve", NAME, "--choice", "retry"])
        .await?;
    let status = env.until("it is where it was", |_| true).await?;
    ensure!(
        status["state"] == "needs_operator",
        "{refused:?} {status:#}"
    );

    env.cli_ok(&["flip", "orders", "--to", "green", "--force"])
        .await?;
    env.cli_ok(&["migration", "resolve", NAME, "--choice", "retry"])
        .await?;
    env.proven().await?;
    env.cli_ok(&["migration", "rollback", NAME]).await?;
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn s25_a_switch_that_a_forced_flip_parked_is_not_undone_before_its_writers_are_back()
-> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    env.cli_ok(&["flip", "orders", "--to", "green", "--force"])
        .await?;
    env.until("the migration is parked", |status| {
        status["state"] == "needs_operator"
    })
    .await?;
    let refused = env
        .cli(&["migration", "resolve", NAME, "--choice", "retry"])
        .await?;
    let status = env.until("it is where it was", |_| true).await?;
    let said = status["headline"].as_str().unwrap_or_default();
    ensure!(
        status["state"] == "needs_operator" && said.contains("send writers to blue first"),
        "{refused:?} {status:#}"
    );

    env.cli_ok(&["flip", "orders", "--to", "blue", "--force"])
        .await?;
    env.cli_ok(&["migration", "resolve", NAME, "--choice", "retry"])
        .await?;
    env.until("nothing had been changed", |status| {
        status["state"] == "undone"
    })
    .await?;
    env.switch().await?;
    env.proven().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}
