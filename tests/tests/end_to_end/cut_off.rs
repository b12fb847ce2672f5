//! Sidecars that do not hear what the fleet is told.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use pointsman_lab::{
    GateOptions, Lab, LabOptions,
    envoy::Envoy,
    ports::Port,
    postgres::{PostgresPair, PostgresServer},
    workload::{Access, EventKind, Manners, Route, Workload, WorkloadOptions, verify},
};
use tokio::time::Instant;

use super::support::{
    CLOSING, NAME, PROMOTION, SOON, TestEnvironment, connect, options, short_hold, tell,
};

const BUDGET: Duration = Duration::from_secs(4);

async fn writes(server: &PostgresServer, datname: &str) -> Result<BTreeSet<(i32, i64)>> {
    let rows = verify::read_rows(&*server.client(datname).await?).await?;
    Ok(rows.iter().map(|row| (row.client, row.number)).collect())
}

/// Nothing was written on the source that the target, which was promoted, does not have.
pub(crate) async fn nothing_is_left_behind(pair: &PostgresPair, datname: &str) -> Result<()> {
    let (source, target) = (&pair.source, &pair.target);
    let (left, moved) = (
        writes(source, datname).await?,
        writes(target, datname).await?,
    );
    let behind: Vec<_> = left.difference(&moved).collect();
    ensure!(behind.is_empty(), "written behind the fence: {behind:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_cut_off_after_the_hold_cannot_write_behind_the_fence() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        xds_of: Some(1),
        ..GateOptions::default()
    };
    let env = TestEnvironment::ready(short_hold(BUDGET, gates)).await?;
    // Every sidecar has acknowledged the hold when the source is about to be closed.
    let caught = env.source_gate()?.hold_at(CLOSING);
    let switch = env.switch_until(caught).await?;
    env.xds_gate()?.sever();
    env.source_gate()?.release();
    let output = switch.ended().await?;
    ensure!(output.code == Some(0), "{output:?}");
    ensure!(
        output.stdout.contains("not connected: sc1"),
        "the sidecar that did not hear of the flip is not named: {output:?}"
    );

    // Its clients are parked, and refused when the hold ends; the others write on.
    let orders = env.lab.databases.first().context("a database")?;
    for address in [env.lab.writer(1, orders), env.lab.reader(1, orders)] {
        let refusal = refused(address).await?;
        tell(&format!("through the sidecar that was cut off: {refusal}"));
    }
    env.workload.more_acked(50, SOON).await?;
    for database in &env.lab.databases {
        nothing_is_left_behind(&env.lab.pair, &database.name).await?;
    }

    let back = env.now();
    env.xds_gate()?.restore();
    env.served_by(&env.lab.pair.target, back).await?;
    let (lab, _record) = env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    for database in &lab.databases {
        nothing_is_left_behind(&lab.pair, &database.name).await?;
    }
    Ok(())
}

/// A new connection, which is to be refused before any server has said a word.
async fn refused(address: SocketAddr) -> Result<String> {
    match connect(address, "orders").await {
        Ok(_session) => bail!("somebody was let in at {address}"),
        Err(refusal) => {
            ensure!(refusal.sqlstate.is_none(), "a server was asked: {refusal}");
            Ok(refusal.to_string())
        }
    }
}

/// An Envoy that goes on as every sidecar did before the hold: nobody can tell it otherwise.
async fn deaf_sidecar(lab: &Lab, listen: &Port) -> Result<Envoy> {
    let admin = Port::reserve()?;
    let address = |at: SocketAddr| {
        serde_json::json!({ "socket_address": {
            "address": at.ip().to_string(), "port_value": at.port() } })
    };
    let bootstrap = serde_json::json!({
        "node": { "id": "deaf", "cluster": "dal" },
        "admin": { "address": address(admin.on_loopback()) },
        "static_resources": {
            "listeners": [{
                "name": "writer", "address": address(listen.on_loopback()),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.tcp_proxy",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                        "stat_prefix": "writer", "cluster": "writer" } }] }] }],
            "clusters": [{
                "name": "writer", "type": "STATIC", "connect_timeout": "1s",
                "load_assignment": { "cluster_name": "writer", "endpoints": [{
                    "lb_endpoints": [{ "endpoint": {
                        "address": address(lab.pair.source.address()) } }] }] } }] },
    });
    let deaf = Envoy::start("deaf", lab.scratch.path(), &bootstrap.to_string(), admin).await?;
    deaf.listening(listen.on_loopback()).await?;
    Ok(deaf)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_never_heard_of_the_hold_cannot_write_behind_the_fence() -> Result<()> {
    let options = LabOptions {
        databases: vec!["orders".to_owned()],
        ..short_hold(BUDGET, GateOptions::default())
    };
    let lab = Lab::start(options).await?;
    let port = Port::reserve()?;
    let _deaf = deaf_sidecar(&lab, &port).await?;
    let workload_options = WorkloadOptions {
        writers: 6,
        readers: 0,
        manners: Manners {
            patience: Duration::from_secs(2),
            ..Manners::default()
        },
        ..WorkloadOptions::over(vec![Access {
            datname: "orders".to_owned(),
            writer: vec![Route::Fixed(port.on_loopback())],
            reader: Vec::new(),
        }])
    };
    let workload = Workload::start(&workload_options)?;
    workload.more_acked(50, SOON).await?;
    let env = TestEnvironment { workload, lab };
    env.prepare().await?;
    env.cli_ok(&["migration", "switch", NAME]).await?;

    // They go on trying while the target serves and the source is the stream's subscriber.
    let flipped = env.now();
    env.proven().await?;
    let TestEnvironment { workload, lab } = env;
    let tries = || {
        workload
            .record()
            .errors_between(flipped, workload.clock().now())
    };
    lab.migration_until(NAME, SOON, |_| tries() >= 20).await?;
    let record = workload.stop(Duration::from_millis(200)).await?;
    let served = record
        .writers()
        .flat_map(|client| &client.events)
        .filter(|event| event.at > flipped)
        .filter(|event| matches!(event.kind, EventKind::Acked { .. }));
    ensure!(
        served.count() == 0,
        "a write was acknowledged behind the fence"
    );
    for (_, failure) in record
        .writers()
        .filter_map(|client| client.failures().last())
    {
        tell(&format!("{:?} {}", failure.sqlstate, failure.message));
    }
    let verdict = verify::check(&record, &lab.pair.target).await?;
    ensure!(verdict.is_clean(), "{verdict}");
    nothing_is_left_behind(&lab.pair, "orders").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_starts_during_a_hold_holds_as_well() -> Result<()> {
    let patient = LabOptions {
        settings: "[hold]\nbudget_ms = 20000\n[switch]\npromote_ms = 20000\n".to_owned(),
        ..options(GateOptions {
            target_control: true,
            ..GateOptions::default()
        })
    };
    let mut env = TestEnvironment::ready(patient).await?;
    let caught = env.target_gate()?.hold_at(PROMOTION);
    let switch = env.switch_until(caught).await?;
    let orders = env.lab.databases.first().context("a database")?;
    let address = env.lab.writer(1, orders);
    let sidecar = &mut env.lab.sidecars[1];
    sidecar.restart().await?;
    sidecar.listening(address).await?;

    let newcomer = async {
        let session = connect(address, "orders").await?;
        let port = "SELECT inet_server_port()";
        let row = session.client().query_one(port, &[]).await?;
        session.close().await;
        anyhow::Ok(row.get::<_, i32>(0))
    };
    tokio::pin!(newcomer);
    tokio::select! {
        early = &mut newcomer => bail!("it was not held: {early:?}"),
        parked = is_parked(&env.lab.sidecars[1]) => parked?,
    }
    env.target_gate()?.release();
    let served_by = newcomer.await?;
    ensure!(served_by == i32::from(env.lab.pair.target.address().port()));
    let output = switch.ended().await?;
    ensure!(output.code == Some(0), "{output:?}");
    env.lab.synced().await?;
    env.nothing_is_lost_on(|lab| &lab.pair.target).await?;
    Ok(())
}

/// Waits until the sidecar has accepted somebody and found no server for them, more than once.
async fn is_parked(sidecar: &Envoy) -> Result<()> {
    let deadline = Instant::now() + SOON;
    let tried = "cluster.writer/orders.upstream_cx_connect_fail";
    while sidecar.stat(tried).await?.is_none_or(|tries| tries < 5) {
        ensure!(Instant::now() < deadline, "nobody is parked");
    }
    Ok(())
}
