//! Who is served, and who is counted.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use pointsman_lab::{GateOptions, envoy::Envoy, ports::Port, sidecar_name};

use super::{
    refusing::{Refusing, WORDS},
    support::{NAME, SOON, TestEnvironment, connect, options},
};

/// An address that no sidecar of a lab has.
const STRAY: &str = "127.0.1.77";

impl TestEnvironment {
    /// An Envoy with the bootstrap of sidecar 0, as node `stray` at an address of its own.
    async fn stray(&self) -> Result<Envoy> {
        let lab = &self.lab;
        let bootstrap = lab.scratch.path().join(format!("{}.json", sidecar_name(0)));
        let bootstrap = fs::read_to_string(bootstrap)?;
        let orders = lab.databases.first().context("a database")?;
        let listen = lab.writer(0, orders).ip().to_string();
        let (admin, former) = (Port::reserve()?, lab.sidecars[0].admin().port());
        let bootstrap = bootstrap
            .replace("\"sc0\"", "\"stray\"")
            .replace(&format!("\"{listen}\""), &format!("\"{STRAY}\""))
            .replace(&former.to_string(), &admin.number().to_string());
        let stray = Envoy::start("stray", lab.scratch.path(), &bootstrap, admin).await?;
        stray.listening(self.at_stray()?).await?;
        Ok(stray)
    }

    /// Where the stray offers the writer of `orders`.
    fn at_stray(&self) -> Result<SocketAddr> {
        let orders = self.lab.databases.first().context("a database")?;
        let port = self.lab.writer(0, orders).port();
        Ok(SocketAddr::new(STRAY.parse()?, port))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_sidecar_is_served_and_shown_and_blocks_a_switch() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    let mut stray = env.stray().await?;
    let session = connect(env.at_stray()?, "orders").await?;
    session.client().simple_query("SELECT FROM writes").await?;
    session.close().await;

    let fleet = env.cli(&["fleet", "status"]).await?.stdout;
    let row = fleet.lines().find(|line| line.starts_with("stray"));
    ensure!(
        row.is_some_and(|row| row.contains("UNREGISTERED") && row.contains(STRAY)),
        "{fleet}"
    );

    let began = env.now();
    let preflight = env.cli(&["migration", "preflight", NAME]).await?;
    ensure!(preflight.code == Some(3), "{preflight:?}");
    ensure!(preflight.stdout.contains("stray"), "{preflight:?}");
    let switch = env.begin_switch()?.ended().await?;
    ensure!(switch.code == Some(1), "{switch:?}");
    ensure!(switch.stderr.contains("stray"), "{switch:?}");
    env.settled("undone").await?;
    let errors = env.workload.record().errors_between(began, env.now());
    ensure!(errors == 0, "clients noticed: {errors} errors");

    env.cli_ok(&["fleet", "register", "stray", "--listen", STRAY])
        .await?;
    env.lab.synced().await?;
    env.switch().await?;
    let session = connect(env.at_stray()?, "orders").await?;
    let port = session
        .client()
        .query_one("SELECT inet_server_port()", &[])
        .await?;
    ensure!(port.get::<_, i32>(0) == i32::from(env.lab.pair.target.address().port()));
    session.close().await;

    stray.kill().await?;
    env.workload.more_acked(20, SOON).await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// A sidecar that is stuck is SYNCED until something is sent to it. A canary that is, keeps a
/// switch from beginning before any other sidecar, server or client has noticed anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_stuck_keeps_a_switch_from_beginning() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    let canary = sidecar_name(0);
    let orders = env.lab.databases.first().context("a database")?;
    let listen = env.lab.writer(0, orders).ip().to_string();
    let register = [
        "fleet", "register", &canary, "--listen", &listen, "--canary",
    ];
    env.cli_ok(&register).await?;
    env.lab.synced().await?;
    let other = sidecar_name(1);
    let before = env.layer_of(&other).await?;

    env.lab.sidecars[0].freeze();
    let began = env.now();
    let switch = env.cli(&["migration", "switch", NAME]).await?;
    ensure!(switch.code == Some(1), "{switch:?}");
    ensure!(switch.stderr.contains("canary"), "{switch:?}");
    ensure!(
        switch.stderr.contains(&format!("silent: {canary}")),
        "{switch:?}"
    );
    ensure!(!switch.stderr.contains(&other), "{switch:?}");
    env.settled("undone").await?;
    ensure!(
        env.layer_of(&other).await? == before,
        "the other was sent it"
    );

    env.lab.sidecars[0].thaw();
    env.lab.synced().await?;
    env.switch().await?;
    ensure!(
        env.layer_of(&other).await? != before,
        "the other was not sent it"
    );
    let errors = env.workload.record().errors_between(began, env.now());
    println!("{errors} errors of clients, at a switch with one refusal before it");
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// A sidecar that refuses what moves nothing would refuse the hold as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_refuses_a_change_keeps_a_switch_from_beginning() -> Result<()> {
    let env = TestEnvironment::ready(options(GateOptions::default())).await?;
    let [writer, reader] = [Port::reserve()?, Port::reserve()?].map(|port| port.number());
    // Nothing that moves exists for it, so nothing is asked of it but to take changes.
    let path = env.lab.scratch.path().join("elsewhere.toml");
    let elsewhere = format!(
        "[servers.grey]\nendpoint = \"127.0.0.1:1\"\ncontrol = \"host=127.0.0.1 user=postgres\"\n\
         [databases.elsewhere]\nwriter = \"grey\"\nreaders = [\"grey\"]\n\
         listen = {{ writer = {writer}, reader = {reader} }}\n"
    );
    fs::write(&path, elsewhere)?;
    env.cli_ok(&["database", "apply", &path.to_string_lossy()])
        .await?;
    let register = ["fleet", "register", "picky", "--listen", STRAY];
    env.cli_ok(&[&register[..], &["--database", "elsewhere"]].concat())
        .await?;
    let picky = Refusing::connect("picky", env.lab.control_plane.xds()).await?;
    env.lab.synced().await?;

    picky.refuse();
    let began = env.now();
    let switch = env.cli(&["migration", "switch", NAME]).await?;
    ensure!(switch.code == Some(1), "{switch:?}");
    let refused = format!("refused: picky ({WORDS})");
    for message in [
        "not every registered sidecar took a change that moves nothing",
        &refused,
    ] {
        ensure!(switch.stderr.contains(message), "{switch:?}");
    }
    env.settled("undone").await?;
    let preflight = env.cli(&["migration", "preflight", NAME]).await?;
    ensure!(preflight.code == Some(3), "{preflight:?}");
    let line = preflight.stdout.lines().find(|line| line.contains("C74"));
    ensure!(
        line.is_some_and(|line| line.contains("picky") && line.contains(WORDS)),
        "{preflight:?}"
    );
    let errors = env.workload.record().errors_between(began, env.now());
    ensure!(errors == 0, "clients noticed: {errors} errors");

    drop(picky);
    env.cli_ok(&["fleet", "retire", "picky"]).await?;
    env.switch().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

impl TestEnvironment {
    /// The publish with the runtime layer that a sidecar was sent last.
    async fn layer_of(&self, sidecar: &str) -> Result<u64> {
        let show = ["fleet", "show", sidecar];
        let record = self.lab.control_plane.cli_json(&show).await?;
        let deliveries = record["deliveries"].as_array().context("deliveries")?;
        let layer = deliveries.iter().find(|one| one["type"] == "RTDS");
        layer
            .and_then(|layer| layer["sent"].as_u64())
            .with_context(|| format!("no runtime layer was sent: {record}"))
    }
}
