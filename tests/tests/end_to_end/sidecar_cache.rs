//! Sidecars that start while the control plane cannot be reached.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pointsman_lab::{
    Database, GateOptions, Lab, LabOptions,
    envoy::Envoy,
    gate::Gate,
    workload::{ConnectError, Session},
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{
    beside::Beside,
    cut_off::nothing_is_left_behind,
    support::{PROMOTION, SOON, TestEnvironment, connect, has_ended, options, tell},
};

/// The sidecar that has a cache.
const NUMBER: u8 = 1;

impl TestEnvironment {
    /// A new connection to the writer of orders through the sidecar with the cache.
    async fn newcomer(&self) -> Result<Result<Session, ConnectError>> {
        let orders = self.lab.databases.first().context("a database")?;
        Ok(connect(self.lab.writer(NUMBER, orders), "orders").await)
    }

    /// The server that serves that connection, by its port.
    async fn served_through_cache(&self) -> Result<i32> {
        let session = self.newcomer().await??;
        let query = "SELECT inet_server_port(), pg_is_in_recovery()";
        let row = session.client().query_one(query, &[]).await?;
        session.close().await;
        ensure!(!row.get::<_, bool>(1), "it is a standby");
        Ok(row.get(0))
    }

    fn source_port(&self) -> i32 {
        self.lab.pair.source.address().port().into()
    }

    fn target_port(&self) -> i32 {
        self.lab.pair.target.address().port().into()
    }
}

/// Waits until the sidecar has its listeners.
async fn is_up(lab: &Lab, sidecar: &Envoy) -> Result<()> {
    let orders = lab.databases.first().context("a database")?;
    sidecar.listening(lab.writer(NUMBER, orders)).await
}

/// The cache follows a switch that neither waits for it nor counts it, and a sidecar that starts when
/// the control plane is gone sends applications to the server that serves since.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_starts_without_a_control_plane_serves_the_last_writer_and_goes_back()
-> Result<()> {
    let mut env = TestEnvironment::ready(options(GateOptions::default())).await?;
    let beside = Beside::of(&env.lab, NUMBER, env.lab.control_plane.xds()).await?;
    let cache = beside.cache(&env.lab, "1h").await?;
    cache.keeps("orders", Some(env.source_port())).await?;

    // Nobody waits for a cache that is stuck, and nobody lists it.
    cache.freeze().await?;
    env.switch().await?;
    let fleet = env.lab.control_plane.cli_json(&["fleet", "status"]).await?;
    let nodes = fleet["nodes"].as_array().context("nodes")?;
    let nodes: Vec<_> = nodes
        .iter()
        .filter_map(|node| node["node"].as_str())
        .collect();
    ensure!(nodes == ["sc0", "sc1"], "{fleet:#}");
    // It is shown beside its sidecar, and by itself nowhere.
    let caches = fleet["caches"].as_array().context("caches")?;
    let of: Vec<_> = caches.iter().map(|cache| &cache["node"]).collect();
    ensure!(of == ["sc1"], "{fleet:#}");
    let shown = env.lab.control_plane.cli_ok(&["fleet", "show", "sc1"]);
    let shown = shown.await?;
    ensure!(shown.contains("cache      since "), "{shown}");
    cache.thaw().await?;
    cache.keeps("orders", Some(env.target_port())).await?;

    env.lab.control_plane.kill9().await?;
    env.lab.sidecars[usize::from(NUMBER)].kill().await?;
    let sidecar = beside.start(&env.lab).await?;
    is_up(&env.lab, &sidecar).await?;
    ensure!(env.served_through_cache().await? == env.target_port());
    let lost = env.now();
    env.served_by(&env.lab.pair.target, lost).await?;
    // A cache that is killed serves again from its file.
    cache.kill().await?;
    let cache = beside.cache(&env.lab, "1h").await?;
    cache.says("a sidecar starts from what is kept").await?;

    // It goes back by itself, and hears of the way back.
    env.lab.control_plane.restart().await?;
    env.lab.synced().await?;
    env.proven().await?;
    env.roll_back().await?;
    ensure!(env.served_through_cache().await? == env.source_port());
    cache.keeps("orders", Some(env.source_port())).await?;
    tell(&cache.log()?);
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

/// What the cache cannot know: the writer was left. The fence does.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_starts_from_a_cache_that_was_cut_off_writes_nothing_on_a_fenced_server()
-> Result<()> {
    let mut env = TestEnvironment::ready(options(GateOptions::default())).await?;
    let gate = Gate::start(env.lab.control_plane.xds()).await?;
    let beside = Beside::of(&env.lab, NUMBER, gate.address()).await?;
    let cache = beside.cache(&env.lab, "1h").await?;
    cache.keeps("orders", Some(env.source_port())).await?;
    gate.sever();
    env.switch().await?;

    env.lab.sidecars[usize::from(NUMBER)].kill().await?;
    let sidecar = beside.start(&env.lab).await?;
    is_up(&env.lab, &sidecar).await?;
    // Its clients try all the time; each try ends at the server's own refusal.
    for _ in 0..20 {
        let refusal = env.newcomer().await?.err().context("somebody was let in")?;
        ensure!(refusal.sqlstate.is_some(), "no server was asked: {refusal}");
        tell(&format!(
            "through the sidecar that started from the cache: {refusal}"
        ));
    }
    for database in &env.lab.databases {
        nothing_is_left_behind(&env.lab.pair, &database.name).await?;
    }

    // It hears of the new writer when the control plane can be reached again.
    gate.restore();
    let back = env.now();
    env.served_by(&env.lab.pair.target, back).await?;
    ensure!(env.served_through_cache().await? == env.target_port());
    let (lab, _record) = env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    for database in &lab.databases {
        nothing_is_left_behind(&lab.pair, &database.name).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_age_a_cache_serves_nobody() -> Result<()> {
    let lab = LabOptions {
        databases: vec!["orders".to_owned()],
        ..options(GateOptions::default())
    };
    let mut lab = Lab::start(lab).await?;
    let beside = Beside::of(&lab, NUMBER, lab.control_plane.xds()).await?;
    let cache = beside.cache(&lab, "1h").await?;
    let port = lab.pair.source.address().port().into();
    cache.keeps("orders", Some(port)).await?;
    lab.control_plane.kill9().await?;
    lab.sidecars[usize::from(NUMBER)].kill().await?;

    // Within its age, so that what comes says something.
    let mut sidecar = beside.start(&lab).await?;
    is_up(&lab, &sidecar).await?;
    sidecar.kill().await?;

    // The age is that of what is kept, and not that of the process.
    cache.kill().await?;
    let cache = beside.cache(&lab, "5s").await?;
    cache.says("longer than --max-age").await?;
    let late = beside.start(&lab).await?;
    let deadline = Instant::now() + SOON;
    let tried = "cluster.cache.upstream_cx_connect_fail";
    while late.stat(tried).await?.is_none_or(|tries| tries < 3) {
        ensure!(Instant::now() < deadline, "it does not ask the cache");
    }
    ensure!(
        late.stats("listener_manager.total_listeners_active")
            .await?
            == 0
    );
    let orders = lab.databases.first().context("a database")?;
    let refused = connect(lab.writer(NUMBER, orders), "orders").await;
    ensure!(refused.is_err(), "somebody was let in");

    lab.control_plane.restart().await?;
    is_up(&lab, &late).await?;
    cache.says("the control plane serves").await?;
    Ok(())
}

/// What is kept of a hold is a refusal: nobody is parked whom nobody would release.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_starts_from_a_cache_after_a_hold_began_refuses_and_parks_nobody()
-> Result<()> {
    let patient = LabOptions {
        settings: "[hold]\nbudget_ms = 20000\n[switch]\npromote_ms = 20000\n".to_owned(),
        ..options(GateOptions {
            target_control: true,
            ..GateOptions::default()
        })
    };
    let mut env = TestEnvironment::ready(patient).await?;
    let beside = Beside::of(&env.lab, NUMBER, env.lab.control_plane.xds()).await?;
    let cache = beside.cache(&env.lab, "1h").await?;
    cache.keeps("orders", Some(env.source_port())).await?;
    let caught = env.target_gate()?.hold_at(PROMOTION);
    let switch = env.switch_until(caught).await?;
    cache.keeps("orders", None).await?;
    env.lab.control_plane.kill9().await?;
    drop(switch);
    env.lab.sidecars[usize::from(NUMBER)].kill().await?;

    let sidecar = beside.start(&env.lab).await?;
    is_up(&env.lab, &sidecar).await?;
    let refusal = env.newcomer().await?.err().context("somebody was let in")?;
    tell(&format!(
        "through the sidecar that started in the hold: {refusal}"
    ));
    ensure!(refusal.sqlstate.is_none(), "a server was asked: {refusal}");
    // Each try of a client that is parked is a failed connection.
    let tried = "cluster.writer/orders.upstream_cx_connect_fail";
    ensure!(
        sidecar.stat(tried).await?.unwrap_or_default() == 0,
        "it was parked"
    );

    // The next control plane brings the switch to its end, and the sidecar hears of it.
    env.target_gate()?.release();
    env.lab.control_plane.restart().await?;
    let settled = env.until("the switch has ended", has_ended).await?;
    let server = match settled["state"].as_str() {
        Some("baking") => &env.lab.pair.target,
        Some("undone") => &env.lab.pair.source,
        other => bail!("{other:?}: {settled:#}"),
    };
    let ended = env.now();
    env.served_by(server, ended).await?;
    let baking = settled["state"] == "baking";
    env.nothing_is_lost_on(|lab| match baking {
        true => &lab.pair.target,
        false => &lab.pair.source,
    })
    .await?;
    Ok(())
}

/// An Envoy that changes its server says nothing of what it has, so nobody could take anything away from
/// it afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_goes_back_without_what_is_gone_since() -> Result<()> {
    let mut lab = Lab::start(options(GateOptions::default())).await?;
    let gate = Gate::start(lab.control_plane.xds()).await?;
    let beside = Beside::of(&lab, NUMBER, gate.address()).await?;
    let cache = beside.cache(&lab, "1h").await?;
    cache.says("the control plane serves").await?;
    gate.sever();
    lab.sidecars[usize::from(NUMBER)].kill().await?;
    let sidecar = beside.start(&lab).await?;
    let names = |database: &Database| database.name.clone();
    ensure!(lab.databases.iter().map(names).eq(["orders", "billing"]));
    let [orders, billing] = [0, 1].map(|at| lab.writer(NUMBER, &lab.databases[at]));
    for listener in [orders, billing] {
        sidecar.listening(listener).await?;
    }

    let listen = orders.ip().to_string();
    let register = ["fleet", "register", "sc1", "--listen", &listen];
    let register = [&register[..], &["--database", "orders"]].concat();
    lab.control_plane.cli_ok(&register).await?;
    gate.restore();
    let deadline = Instant::now() + SOON;
    while TcpStream::connect(billing).await.is_ok() {
        let log = || cache.log().unwrap_or_default();
        ensure!(
            Instant::now() < deadline,
            "it listens for billing still\n{}",
            log()
        );
        sleep(Duration::from_millis(20)).await;
    }
    lab.synced().await?;
    let session = connect(orders, "orders").await?;
    session.close().await;
    Ok(())
}
