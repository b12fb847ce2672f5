//! What sidecars report of themselves.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use pointsman_lab::{GateOptions, Lab, LabOptions, ports::Port, sidecar_name};
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::support::{CLOSING, NAME, SOON, TestEnvironment, connect, options, tell};

/// How fresh the numbers are to be.
const FRESH: Duration = Duration::from_secs(1);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A lab with a migration that can be switched, and nobody at work.
async fn idle(options: LabOptions) -> Result<Lab> {
    let lab = Lab::start(options).await?;
    let (source, target) = (lab.pair.source.name(), lab.pair.target.name());
    let create = ["migration", "create", NAME, "--source", source];
    let create: Vec<_> = create.into_iter().chain(["--target", target]).collect();
    lab.control_plane.cli_ok(&create).await?;
    Ok(lab)
}

/// What sidecar 0 reports of the writer's route of `orders`.
async fn writer_of_orders(lab: &Lab) -> Result<Value> {
    let found = lab
        .control_plane
        .cli_json(&["database", "show", "orders"])
        .await?;
    let usage = found["databases"][0]["usage"].as_array().cloned();
    let mut usage = usage.context("no usage")?.into_iter();
    let wanted = |route: &Value| route["node"] == sidecar_name(0) && route["role"] == "writer";
    usage.find(wanted).context("sidecar 0 is not shown")
}

/// Looks until `holds`, and says how long that took.
async fn seen(lab: &Lab, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let found = writer_of_orders(lab).await?;
        let took = began.elapsed();
        if holds(&found) {
            tell(&format!("{what}: seen after {took:?}: {found}"));
            return Ok(took);
        }
        ensure!(took < SOON, "{what}: not seen after {took:?}: {found:#}");
        sleep(LOOK_AGAIN).await;
    }
}

/// The row of a sidecar in `fleet status`.
async fn node(lab: &Lab, number: u8) -> Result<Value> {
    let fleet = lab.control_plane.cli_json(&["fleet", "status"]).await?;
    let nodes = fleet["nodes"].as_array().cloned().context("no nodes")?;
    let mut nodes = nodes.into_iter();
    nodes
        .find(|node| node["node"] == sidecar_name(number))
        .context("the sidecar is not shown")
}

async fn node_until(lab: &Lab, number: u8, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let end = Instant::now() + SOON;
    loop {
        let found = node(lab, number).await?;
        if holds(&found) {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "still like this: {found:#}");
        sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_parked_clients_are_seen_within_a_second() -> Result<()> {
    let gates = GateOptions {
        source_control: true,
        ..GateOptions::default()
    };
    let lab = idle(options(gates)).await?;
    for verb in ["preflight", "start"] {
        let output = lab.control_plane.cli(&["migration", verb, NAME]).await?;
        ensure!(matches!(output.code, Some(0 | 2)), "{output:?}");
    }
    let orders = lab.databases.first().context("a database")?;
    let at = lab.writer(0, orders);
    let (name, blue) = (orders.name.as_str(), lab.pair.source.name());

    let sessions = try_join_all((0..7).map(|_| connect(at, name))).await?;
    let took = seen(&lab, "7 sessions", |route| {
        let endpoint = &route["endpoints"][0];
        route["sessions"] == 7
            && route["parked"] == 0
            && endpoint["sessions"] == 7
            && endpoint["server"] == blue
    })
    .await?;
    ensure!(took < FRESH, "7 sessions were seen after {took:?}");

    // The switch stops behind its hold.
    let gate = lab.gates.source_control.as_ref().context("no gate")?;
    let caught = gate.hold_at(CLOSING);
    let mut switch = lab
        .control_plane
        .command(["migration", "switch", NAME])
        .spawn()?;
    caught.within(SOON).await?;
    let mut parked = JoinSet::new();
    for _ in 0..3 {
        let name = name.to_owned();
        parked.spawn(async move { connect(at, &name).await });
    }
    let took = seen(&lab, "3 parked", |route| {
        route["sessions"] == 7 && route["parked"] == 3 && route["connect_failures"] == 0
    })
    .await?;
    ensure!(took < FRESH, "3 parked clients were seen after {took:?}");

    gate.release();
    switch.wait().await?;
    let mut served = Vec::new();
    while let Some(session) = parked.join_next().await {
        served.push(session??);
    }
    drop(sessions);
    let green = lab.pair.target.name();
    seen(&lab, "3 sessions on the new writer, none parked", |route| {
        let endpoints = route["endpoints"].as_array().into_iter().flatten();
        let mut open = endpoints.filter(|endpoint| endpoint["sessions"] != 0);
        let all = open
            .next()
            .is_some_and(|endpoint| endpoint["sessions"] == 3 && endpoint["server"] == green);
        all && open.next().is_none() && route["parked"] == 0
    })
    .await?;

    lab.sidecars[0].freeze();
    let silent = node_until(&lab, 0, |node| node["usage"]["unknown"] != "").await;
    lab.sidecars[0].thaw();
    let silent = silent?;
    ensure!(silent["usage"]["sessions"].is_null(), "{silent:#}");
    node_until(&lab, 0, |node| node["usage"]["sessions"] == 3).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sidecar_tries_the_target_before_a_switch() -> Result<()> {
    let lab = idle(options(GateOptions::default())).await?;
    let preflight = ["migration", "preflight", NAME];
    let shown: Vec<_> = preflight.into_iter().chain(["--show", "C76"]).collect();
    let passed = lab.control_plane.cli(&shown).await?;
    tell(&passed.stdout);
    ensure!(matches!(passed.code, Some(0 | 2)), "{passed:?}");
    for number in 0..2 {
        let name = sidecar_name(number);
        ensure!(passed.stdout.contains(&name), "{name}: {passed:?}");
    }

    lab.sidecars[1].freeze();
    node_until(&lab, 1, |node| node["usage"]["unknown"] != "").await?;
    let unknown = lab.control_plane.cli(&preflight).await;
    lab.sidecars[1].thaw();
    let unknown = unknown?;
    tell(&unknown.stdout);
    ensure!(unknown.code == Some(3), "{unknown:?}");
    let line = unknown.stdout.lines().find(|line| line.contains("C76"));
    let named = line.is_some_and(|line| line.contains("sc1") && !line.contains("sc0"));
    ensure!(named, "{unknown:?}");

    lab.pair.target.stop().await?;
    for number in 0..2 {
        let refused = node_until(&lab, number, |node| {
            node["usage"]["probes"][0]["result"] == "not reached"
        });
        tell(&refused.await?.to_string());
    }
    lab.pair.target.start().await?;
    for number in 0..2 {
        node_until(&lab, number, |node| {
            node["usage"]["probes"][0]["result"] == "reached"
        })
        .await?;
    }
    ensure!(
        !lab.pair
            .target
            .log_tail()
            .lines()
            .filter(|line| !line.contains("pointsman-preflight"))
            .any(|line| line.contains("could not receive data")),
        "trying a server leaves lines in its log: {}",
        lab.pair.target.log_tail()
    );
    Ok(())
}

/// Control sessions reach the target; where sidecars would send applications, nobody listens.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_sidecars_do_not_reach_blocks() -> Result<()> {
    let lab = Lab::start(options(GateOptions::default())).await?;
    let (green, nobody) = (lab.pair.target.address(), Port::reserve()?);
    let path = lab.scratch.path().join("teal.toml");
    let declared = format!(
        "[servers.teal]\nendpoint = \"{}\"\ncontrol = \"host={} port={} user=postgres\"\n",
        nobody.on_loopback(),
        green.ip(),
        green.port()
    );
    fs::write(&path, declared)?;
    let path = path.to_string_lossy();
    for args in [
        &["database", "apply", &path][..],
        &[
            "migration",
            "create",
            NAME,
            "--source",
            "blue",
            "--target",
            "teal",
        ],
    ] {
        lab.control_plane.cli_ok(args).await?;
    }
    let preflight = ["migration", "preflight", NAME];
    let blocked = lab.control_plane.cli(&preflight).await?;
    tell(&blocked.stdout);
    ensure!(blocked.code == Some(3), "{blocked:?}");
    let message = "2 of 2 sidecars cannot reach teal (sc0, sc1)";
    ensure!(blocked.stdout.contains(message), "{blocked:?}");
    Ok(())
}

/// The write probe is kept out of it: it would see a writer that is down, too.
#[tokio::test(flavor = "multi_thread")]
async fn sidecars_that_cannot_reach_the_new_writer_raise_an_alarm() -> Result<()> {
    let settings =
        "[alarm]\nfailures = 1000\nfailing_percent = 100\nfailing_ms = 1000\n".to_owned();
    let env = TestEnvironment::ready(LabOptions {
        settings,
        ..options(GateOptions::default())
    })
    .await?;
    env.switch().await?;
    env.proven().await?;
    let status = env
        .until("the old writer is seen to be empty", |status| {
            let left = status["old_writer"].as_str();
            left == Some("0 sessions on blue, as the sidecars report")
        })
        .await?;
    let hold = status["timeline"].as_array().into_iter().flatten();
    let mut hold = hold.filter(|entry| entry["step"] == "hold" && entry["event"] == "done");
    let reported = &hold.next().context("no hold")?["evidence"]["sessions_reported"];
    for number in 0..2 {
        let open = reported["open"][sidecar_name(number)].as_u64();
        ensure!(open.is_some_and(|open| open > 0), "{reported}");
    }

    env.lab.pair.target.crash().await?;
    let status = env
        .until("the alarm has fired", |status| alarm(status).is_some())
        .await?;
    let cause = alarm(&status).unwrap_or_default();
    tell(cause);
    for word in ["writer of", "2 of 2 sidecars", "sc0: ", "sc1: "] {
        ensure!(cause.contains(word), "{word}: {cause}");
    }

    // A target that is down cannot be gone back from without loss. Once it is there again, the
    // alarm's rollback goes through by itself, unless it was undone before that.
    env.lab.pair.target.start().await?;
    let back = |status: &Value| status["state"] == "rolled_back";
    let status = env
        .until("the way back is open again, or taken", |status| {
            back(status) || status["reverse_stream"] == "proven"
        })
        .await?;
    if !back(&status) {
        env.roll_back().await?;
    }
    env.nothing_is_lost_on(|lab| &lab.pair.source).await?;
    Ok(())
}

/// What the sidecars' alarm said; the cause of a migration is overwritten by what comes after.
fn alarm(status: &Value) -> Option<&str> {
    let timeline = status["timeline"].as_array().into_iter().flatten();
    let mut messages = timeline.filter_map(|entry| entry["message"].as_str());
    messages.find(|message| message.starts_with("alarm of the sidecars"))
}
