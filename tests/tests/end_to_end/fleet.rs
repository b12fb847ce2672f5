//! Who is served, and who is counted.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use pointsman_lab::{GateOptions, envoy::Envoy, ports::Port, sidecar_name};

use super::{
    refusing::{Refusing, WORDS},
    support::{House, NAME, SOON, connect, options},
};

/// An address that no sidecar of a lab has.
const STRAY: &str = "127.0.1.77";

impl House {
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
    let house = House::ready(options(GateOptions::default())).await?;
    let mut stray = house.stray().await?;
    let session = connect(house.at_stray()?, "orders").await?;
    session.client().simple_query("SELECT FROM writes").await?;
    session.close().await;

    let fleet = house.cli(&["fleet", "status"]).await?.stdout;
    let row = fleet.lines().find(|line| line.starts_with("stray"));
    ensure!(
        row.is_some_and(|row| row.contains("UNREGISTERED") && row.contains(STRAY)),
        "{fleet}"
    );

    let began = house.now();
    let preflight = house.cli(&["migration", "preflight", NAME]).await?;
    ensure!(preflight.code == Some(3), "{preflight:?}");
    ensure!(preflight.stdout.contains("stray"), "{preflight:?}");
    let switch = house.begin_switch()?.ended().await?;
    ensure!(switch.code == Some(1), "{switch:?}");
    ensure!(switch.stderr.contains("stray"), "{switch:?}");
    house.settled("undone").await?;
    let errors = house.workload.record().errors_between(began, house.now());
    ensure!(errors == 0, "clients noticed: {errors} errors");

    house
        .cli_ok(&["fleet", "register", "stray", "--listen", STRAY])
        .await?;
    house.lab.synced().await?;
    house.switch().await?;
    let session = connect(house.at_stray()?, "orders").await?;
    let port = session
        .client()
        .query_one("SELECT inet_server_port()", &[])
        .await?;
    ensure!(port.get::<_, i32>(0) == i32::from(house.lab.pair.target.address().port()));
    session.close().await;

    stray.kill().await?;
    house.workload.more_acked(20, SOON).await?;
    house.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// A sidecar that is stuck is SYNCED until something is sent to it. A canary that is, keeps a
/// switch from beginning before any other sidecar, server or client has noticed anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_stuck_keeps_a_switch_from_beginning() -> Result<()> {
    let house = House::ready(options(GateOptions::default())).await?;
    let canary = sidecar_name(0);
    let orders = house.lab.databases.first().context("a database")?;
    let listen = house.lab.writer(0, orders).ip().to_string();
    let register = [
        "fleet", "register", &canary, "--listen", &listen, "--canary",
    ];
    house.cli_ok(&register).await?;
    house.lab.synced().await?;
    let other = sidecar_name(1);
    let before = house.layer_of(&other).await?;

    house.lab.sidecars[0].freeze();
    let began = house.now();
    let switch = house.cli(&["migration", "switch", NAME]).await?;
    ensure!(switch.code == Some(1), "{switch:?}");
    ensure!(switch.stderr.contains("canary"), "{switch:?}");
    ensure!(
        switch.stderr.contains(&format!("silent: {canary}")),
        "{switch:?}"
    );
    ensure!(!switch.stderr.contains(&other), "{switch:?}");
    house.settled("undone").await?;
    ensure!(
        house.layer_of(&other).await? == before,
        "the other was sent it"
    );

    house.lab.sidecars[0].thaw();
    house.lab.synced().await?;
    house.switch().await?;
    ensure!(
        house.layer_of(&other).await? != before,
        "the other was not sent it"
    );
    let errors = house.workload.record().errors_between(began, house.now());
    println!("{errors} errors of clients, at a switch with one refusal before it");
    house.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// A sidecar that refuses what moves nothing would refuse the hold as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_refuses_a_change_keeps_a_switch_from_beginning() -> Result<()> {
    let house = House::ready(options(GateOptions::default())).await?;
    let [writer, reader] = [Port::reserve()?, Port::reserve()?].map(|port| port.number());
    // Nothing that moves exists for it, so nothing is asked of it but to take changes.
    let path = house.lab.scratch.path().join("elsewhere.toml");
    let elsewhere = format!(
        "[servers.grey]\nendpoint = \"127.0.0.1:1\"\ncontrol = \"host=127.0.0.1 user=postgres\"\n\
         [databases.elsewhere]\nwriter = \"grey\"\nreaders = [\"grey\"]\n\
         listen = {{ writer = {writer}, reader = {reader} }}\n"
    );
    fs::write(&path, elsewhere)?;
    house
        .cli_ok(&["database", "apply", &path.to_string_lossy()])
        .await?;
    let register = ["fleet", "register", "picky", "--listen", STRAY];
    house
        .cli_ok(&[&register[..], &["--database", "elsewhere"]].concat())
        .await?;
    let picky = Refusing::connect("picky", house.lab.control_plane.xds()).await?;
    house.lab.synced().await?;

    picky.refuse();
    let began = house.now();
    let switch = house.cli(&["migration", "switch", NAME]).await?;
    ensure!(switch.code == Some(1), "{switch:?}");
    let refused = format!("refused: picky ({WORDS})");
    for words in [
        "not every registered sidecar took a change that moves nothing",
        &refused,
    ] {
        ensure!(switch.stderr.contains(words), "{switch:?}");
    }
    house.settled("undone").await?;
    let preflight = house.cli(&["migration", "preflight", NAME]).await?;
    ensure!(preflight.code == Some(3), "{preflight:?}");
    let line = preflight.stdout.lines().find(|line| line.contains("C74"));
    ensure!(
        line.is_some_and(|line| line.contains("picky") && line.contains(WORDS)),
        "{preflight:?}"
    );
    let errors = house.workload.record().errors_between(began, house.now());
    ensure!(errors == 0, "clients noticed: {errors} errors");

    drop(picky);
    house.cli_ok(&["fleet", "retire", "picky"]).await?;
    house.switch().await?;
    house.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

impl House {
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
