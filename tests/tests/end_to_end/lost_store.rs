//! The store is lost behind a fence: what the fence wrote down in the server is all that is left.

use anyhow::{Result, ensure};
use pointsman_lab::{
    GateOptions, Lab, LabOptions,
    control_plane::Output,
    patience::eventually,
    postgres::{PostgresServer, STANDBY_SLOT},
    sidecar_name,
};

use super::support::{MARKER, PROMOTION, TestEnvironment, connect, options};

impl TestEnvironment {
    /// Runs `recover` for `server` with `more`, which needs no control plane.
    async fn recover(&self, server: &PostgresServer, more: &[&str]) -> Result<Output> {
        let control = server.conninfo("postgres");
        let verb = ["recover", "--control", &control];
        self.cli(&[&verb, more].concat()).await
    }

    /// The control plane is killed, its store is gone, and it refuses to start without it.
    async fn lose_the_store(&mut self) -> Result<()> {
        let control_plane = &mut self.lab.control_plane;
        control_plane.kill9().await?;
        control_plane.lose_store()?;
        let Err(refusal) = control_plane.restart().await else {
            anyhow::bail!("it serves without a store");
        };
        let message = format!("{refusal:#}");
        ensure!(message.contains("does not exist"), "{message}");
        Ok(())
    }

    /// What an operator does with a new store.
    async fn start_anew(&mut self) -> Result<()> {
        self.lab.control_plane.restart_anew().await?;
        let file = self.lab.scratch.path().join("databases.toml");
        let apply = ["database", "apply", &file.to_string_lossy()];
        self.cli_ok(&apply).await?;
        for (number, _) in (0..).zip(&self.lab.sidecars) {
            let listen = listen(&self.lab, number)?;
            let name = sidecar_name(number);
            self.cli_ok(&["fleet", "register", &name, "--listen", &listen])
                .await?;
        }
        self.lab.synced().await
    }
}

fn listen(lab: &Lab, number: u8) -> Result<String> {
    let database = lab.databases.first();
    let database = database.ok_or_else(|| anyhow::anyhow!("no database"))?;
    Ok(lab.writer(number, database).ip().to_string())
}

/// The standby of `server`, which was cut off, gets its slot back.
async fn follows_again(server: &PostgresServer) -> Result<()> {
    let session = server.client("postgres").await?;
    let make = "SELECT pg_create_physical_replication_slot($1, true)";
    session.execute(make, &[&STANDBY_SLOT]).await?;
    let streams = "SELECT FROM pg_stat_replication WHERE state = 'streaming'";
    eventually("the standby streams", async || {
        Ok(!session.query(streams, &[]).await?.is_empty())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_fenced_is_opened_without_the_store() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let mut env = TestEnvironment::ready(options(gates)).await?;
    let caught = env.source_gate()?.hold_answer_to(MARKER);
    let _switch = env.switch_until(caught).await?;
    env.lose_the_store().await?;
    env.source_gate()?.release();
    let (blue, green) = (&env.lab.pair.source, &env.lab.pair.target);
    let standby = green.conninfo("postgres");

    let record = env.recover(blue, &[]).await?;
    ensure!(record.code == Some(0), "{record:?}");
    for word in ["fenced by migration m", "server      blue", "orders"] {
        ensure!(record.stdout.contains(word), "{word}: {record:?}");
    }
    let blind = env.recover(blue, &["--un-fence"]).await?;
    ensure!(blind.code == Some(1), "{blind:?}");
    ensure!(blind.stderr.contains("--standby CONNINFO"), "{blind:?}");
    let copy = ["--un-fence", "--standby", &standby];
    let wrong = env.recover(green, &copy).await?;
    ensure!(wrong.code == Some(1), "a standby was opened: {wrong:?}");
    ensure!(connect(blue.address(), "orders").await.is_err());
    let opened = env.recover(blue, &copy).await?;
    ensure!(opened.code == Some(0), "{opened:?}");
    ensure!(
        opened.stdout.contains("the standby was cut off"),
        "{opened:?}"
    );
    connect(blue.address(), "orders").await?.close().await;
    let record = env.recover(blue, &[]).await?;
    ensure!(record.stdout.contains("no fence"), "{record:?}");

    follows_again(blue).await?;
    let anew = env.now();
    env.start_anew().await?;
    env.served_by(&env.lab.pair.source, anew).await?;
    env.prepare().await?;
    env.switch().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_standby_was_promoted_stays_closed_without_the_store() -> Result<()> {
    let gates = GateOptions {
        target_control: true,
        ..GateOptions::default()
    };
    let mut env = TestEnvironment::ready(options(gates)).await?;
    let caught = env.target_gate()?.hold_at("SET TABLESPACE");
    let _switch = env.switch_until(caught).await?;
    env.lose_the_store().await?;
    let (blue, green) = (&env.lab.pair.source, &env.lab.pair.target);
    let standby = green.conninfo("postgres");
    let refused = env
        .recover(blue, &["--un-fence", "--standby", &standby])
        .await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    for word in [
        "the other server is a primary, too, on timeline 2",
        "keep it closed",
    ] {
        ensure!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    for server in [blue, green] {
        let name = server.name();
        ensure!(
            connect(server.address(), "orders").await.is_err(),
            "{name} is open"
        );
    }
    Ok(())
}

/// Nobody knows any more that the promotion was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_promoted_after_a_recovery_is_no_second_writer() -> Result<()> {
    let options = LabOptions {
        settings: "[switch]\npromote_ms = 1000\n".to_owned(),
        ..options(GateOptions {
            target_control: true,
            ..GateOptions::default()
        })
    };
    let mut env = TestEnvironment::ready(options).await?;
    let caught = env.target_gate()?.hold_at(PROMOTION);
    let _switch = env.switch_until(caught).await?;
    env.lose_the_store().await?;
    let (blue, green) = (&env.lab.pair.source, &env.lab.pair.target);
    let standby = green.conninfo("postgres");
    let opened = env
        .recover(blue, &["--un-fence", "--standby", &standby])
        .await?;
    ensure!(opened.code == Some(0), "{opened:?}");
    connect(blue.address(), "orders").await?.close().await;

    // The late request finds its session gone, and a person asks again.
    env.target_gate()?.release();
    let admin = green.client("postgres").await?;
    let standby = admin.query_one("SELECT pg_is_in_recovery()", &[]).await?;
    ensure!(standby.get::<_, bool>(0), "the late request promoted green");
    let source = blue.client("postgres").await?;
    let fed = "SELECT count(*) FROM pg_replication_slots";
    ensure!(source.query_one(fed, &[]).await?.get::<_, i64>(0) == 0);
    admin.query_one("SELECT pg_promote(true)", &[]).await?;
    ensure!(
        connect(green.address(), "orders").await.is_err(),
        "green came up open beside blue"
    );
    connect(blue.address(), "orders").await?.close().await;
    Ok(())
}
