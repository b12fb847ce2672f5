//! One round: a fresh pair, a switch there, a switch back, an audit.

use std::time::Duration;

use anyhow::Context;

use crate::bare::{Bare, Laps, Servers};
use crate::migration::{Follower, MigrationStatus, create};
use pointsman_lab::postgres::{PairOptions, PostgresPair, PostgresServer};
use pointsman_lab::scratch::{Scratch, Storage};
use pointsman_lab::workload::verify::{self, WriteAudit};
use pointsman_lab::workload::{
    Access, Figures, Moment, Record, Route, Switch, Workload, WorkloadOptions,
};
use pointsman_lab::{Lab, LabOptions};

/// What one round measured.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) forward: Leg,
    pub(crate) rollback: Leg,
    pub(crate) audit: WriteAudit,
}

/// One direction of a round.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    pub(crate) figures: Figures,
    /// Milliseconds of each step, in order.
    pub(crate) steps: Vec<(String, f64)>,
}

/// When the two switches of a round began, and when the round ended.
struct Marks {
    there: Moment,
    back: Moment,
    end: Moment,
}

/// The floor: plain SQL on a pair, the clients straight at the servers.
pub(crate) async fn bare() -> anyhow::Result<Round> {
    let scratch = Scratch::on(Storage::Disk)?;
    let options = PairOptions {
        storage: Storage::Disk,
        ..PairOptions::default()
    };
    let pair = PostgresPair::start(scratch.path(), &options).await?;
    let (source, target) = (&pair.source, &pair.target);
    let servers = Servers {
        source: source.address(),
        target: target.address(),
        superuser: "postgres".to_owned(),
        datnames: options.databases,
    };
    let bare = Bare::prepare(&servers).await?;
    let route = || vec![Route::Published(bare.writer())];
    let accesses = servers.datnames.iter().map(|datname| Access {
        datname: datname.clone(),
        writer: route(),
        reader: route(),
    });
    let workload = Workload::start(&WorkloadOptions::over(accesses.collect()))?;
    workload.steady(RATE, WARM, SOON).await?;
    let there = workload.clock().now();
    let forward = bare.forward().await?;
    workload.all_through(port(target), there, SOON).await?;
    bare.arm().await?;
    workload.steady(RATE, WARM, SOON).await?;
    bare.until_reverse_stream_proven(SOON).await?;
    let back = workload.clock().now();
    let rollback = bare.back().await?;
    workload.all_through(port(source), back, SOON).await?;
    let end = workload.clock().now();
    let record = workload.stop(SOON).await?;
    let (there, back) = figures(&pair, &record, &Marks { there, back, end })?;
    Ok(Round {
        forward: Leg {
            figures: there,
            steps: laps(&forward),
        },
        rollback: Leg {
            figures: back,
            steps: laps(&rollback),
        },
        audit: verify::check(&record, source).await?,
    })
}

/// Pointsman with three sidecars.
pub(crate) async fn pointsman() -> anyhow::Result<Round> {
    let options = LabOptions {
        storage: Storage::Disk,
        ..LabOptions::default()
    };
    let lab = Lab::start(options).await?;
    let (source, target) = (&lab.pair.source, &lab.pair.target);
    let cli = &lab.control_plane;
    let workload = Workload::start(&WorkloadOptions::through_sidecars(&lab)?)?;
    create(cli, NAME, (source.name(), target.name())).await?;
    cli.cli_ok(&["migration", "start", NAME]).await?;
    let mut follower = Follower::start(cli, NAME, |_| ())?;
    workload.steady(RATE, WARM, SOON).await?;
    let asked = workload.clock().now();
    cli.cli_ok(&["migration", "switch", NAME]).await?;
    workload.all_through(port(target), asked, SOON).await?;
    let proven = |status: &MigrationStatus| status.reverse_stream == "proven";
    follower.until("the reverse stream", SOON, proven).await?;
    workload.steady(RATE, WARM, SOON).await?;
    let asked = workload.clock().now();
    cli.cli_ok(&["migration", "rollback", NAME]).await?;
    workload.all_through(port(source), asked, SOON).await?;
    let end = workload.clock().now();
    let rolled_back = |status: &MigrationStatus| status.state == "rolled_back";
    let status = follower
        .until("the rollback's record", SOON, rolled_back)
        .await?;
    let record = workload.stop(SOON).await?;
    let marks = Marks {
        there: status.hold_published(FORWARD, &record.clock)?,
        back: status.hold_published(ROLLBACK, &record.clock)?,
        end,
    };
    let (there, back) = figures(&lab.pair, &record, &marks)?;
    Ok(Round {
        forward: Leg {
            figures: there,
            steps: steps(&status, FORWARD),
        },
        rollback: Leg {
            figures: back,
            steps: steps(&status, ROLLBACK),
        },
        audit: verify::check(&record, source).await?,
    })
}

fn figures(
    pair: &PostgresPair,
    record: &Record,
    marks: &Marks,
) -> anyhow::Result<(Figures, Figures)> {
    let (blue, green) = (port(&pair.source), port(&pair.target));
    let Marks { there, back, end } = *marks;
    let forward = Switch {
        hold: there,
        old: blue,
        new: green,
        until: back,
        fault: None,
    };
    let rollback = Switch {
        hold: back,
        old: green,
        new: blue,
        until: end,
        fault: None,
    };
    let forward = record.figures(&forward).context("forward")?;
    let rollback = record.figures(&rollback).context("rollback")?;
    Ok((forward, rollback))
}

fn laps(laps: &Laps) -> Vec<(String, f64)> {
    let steps = laps.iter();
    steps
        .map(|(step, took)| (step.to_owned(), took.as_secs_f64() * 1000.0))
        .collect()
}

fn steps(status: &MigrationStatus, switch: u32) -> Vec<(String, f64)> {
    let steps = status.steps_ms(switch);
    steps
        .map(|(step, took_ms)| (step.to_owned(), took_ms))
        .collect()
}

fn port(server: &PostgresServer) -> u16 {
    server.address().port()
}

const NAME: &str = "bench";
const FORWARD: u32 = 1;
const ROLLBACK: u32 = 2;
/// Acknowledged writes per second before each switch: the clients are at work, and all of them connected.
pub(crate) const RATE: f64 = 300.0;
pub(crate) const WARM: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(30);
