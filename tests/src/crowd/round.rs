//! One round: a switch there, a switch back, an audit.

use std::{fmt, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{
    Lab, LabOptions,
    control_plane::ControlPlane,
    workload::{
        Figures, Record, Switch, Workload, WorkloadOptions,
        verify::{self, WriteAudit},
    },
};
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use super::pgbench::{self, Crowd, Done};
use crate::migration::{Follower, MigrationStatus, create};

/// What became of everybody.
pub(super) struct Round {
    pub(super) crowd: Done,
    /// Of the crowd's history, on the serving writer.
    pub(super) rows: u64,
    pub(super) left_by_a_drain: u64,
    /// Of the clients that measure.
    pub(super) figures: [Figures; 2],
    pub(super) acknowledged: u64,
    pub(super) audit: WriteAudit,
}

pub(super) async fn run() -> Result<Round> {
    let options = LabOptions {
        sidecars: 2,
        databases: vec![DATNAME.to_owned()],
        server_settings: "max_connections = 300".to_owned(),
        ..LabOptions::default()
    };
    let lab = Lab::start(options).await?;
    let source = &lab.pair.source;
    pgbench::make_tables(source.address(), DATNAME).await?;
    let admin = source.client_as("app", DATNAME).await?;
    let keyed = "ALTER TABLE pgbench_history ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY \
                 PRIMARY KEY";
    admin.batch_execute(keyed).await?;
    drop(admin);
    let busy = busy_loops()?;
    let database = lab.databases.first().context("a database")?;
    let ways = [lab.writer(0, database), lab.writer(1, database)];
    let crowd = Crowd::start(&ways, DATNAME, CLIENTS).await?;
    let workload = Workload::start(&WorkloadOptions {
        writers: 16,
        readers: 0,
        ..WorkloadOptions::through_sidecars(&lab)?
    })?;
    let switched = there_and_back(&lab, &workload).await;
    let switched = switched.with_context(|| lab.control_plane.log_tail())?;
    let crowd = crowd.end().await?;
    drop(busy);
    let record = workload.stop(SOON).await?;
    let source = &lab.pair.source;
    let session = source.client(DATNAME).await?;
    let row = session
        .query_one("SELECT count(*) FROM pgbench_history", &[])
        .await?;
    let rows: i64 = row.get(0);
    Ok(Round {
        crowd,
        rows: u64::try_from(rows)?,
        left_by_a_drain: left_by_a_drain(&switched, THERE)? + left_by_a_drain(&switched, BACK)?,
        figures: figures(&lab, &switched, &record)?,
        acknowledged: record.acked_writes(),
        audit: verify::check(&record, source).await?,
    })
}

/// The record of both switches.
async fn there_and_back(lab: &Lab, workload: &Workload) -> Result<MigrationStatus> {
    let (source, target) = (&lab.pair.source, &lab.pair.target);
    let cli = &lab.control_plane;
    create(cli, NAME, (source.name(), target.name())).await?;
    started(cli).await?;
    let mut follower = Follower::start(cli, NAME, |_| ())?;
    workload.more_acked(200, SOON).await?;
    let asked = workload.clock().now();
    cli.cli_ok(&["migration", "switch", NAME]).await?;
    let port = target.address().port();
    workload.all_through(port, asked, SOON).await?;
    let proven = |status: &MigrationStatus| status.reverse_stream == "proven";
    follower.until("the reverse stream", SOON, proven).await?;
    workload.more_acked(200, SOON).await?;
    let asked = workload.clock().now();
    cli.cli_ok(&["migration", "rollback", NAME]).await?;
    let port = source.address().port();
    workload.all_through(port, asked, SOON).await?;
    workload.more_acked(200, SOON).await?;
    let back = |status: &MigrationStatus| status.state == "rolled_back";
    let status = follower.until("the rollback's record", SOON, back).await?;
    Ok(status)
}

/// A server that gives no session within 2 s is away for the engine, which says so and can be asked again.
async fn started(cli: &ControlPlane) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        let output = cli.cli(&["migration", "start", NAME]).await?;
        if output.code == Some(0) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "start: {}", output.stderr);
    }
}

/// Who was still coming in, or had come since the hold began, when the drain of a switch ended.
fn left_by_a_drain(status: &MigrationStatus, switch: u32) -> Result<u64> {
    let mut held = status
        .switch(switch)
        .filter(|entry| entry.step == "hold" && entry.event == "done");
    let held = held.next().context("a hold")?;
    let mut left = 0;
    for kind in ["logging_in", "on_the_way", "newcomers"] {
        let count = held.evidence["drained"][kind].as_u64();
        left += count.with_context(|| format!("no {kind} in {}", held.evidence))?;
    }
    Ok(left)
}

fn figures(lab: &Lab, status: &MigrationStatus, record: &Record) -> Result<[Figures; 2]> {
    let blue = lab.pair.source.address().port();
    let green = lab.pair.target.address().port();
    let there = status.hold_published(THERE, &record.clock)?;
    let back = status.hold_published(BACK, &record.clock)?;
    let forward = Switch {
        hold: there,
        old: blue,
        new: green,
        until: back,
        fault: None,
    };
    let reverse = Switch {
        hold: back,
        old: green,
        new: blue,
        until: record.clock.now(),
        fault: None,
    };
    Ok([record.figures(&forward)?, record.figures(&reverse)?])
}

/// Programs that do nothing, as fast as they can.
fn busy_loops() -> Result<Vec<Child>> {
    let mut loops = Vec::new();
    for _ in 0..BUSY_LOOPS {
        let mut busy = Command::new("sh");
        busy.args(["-c", "while :; do :; done"])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        loops.push(busy.spawn()?);
    }
    ensure!(loops.len() == BUSY_LOOPS, "not every loop runs");
    Ok(loops)
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [there, back] = &self.figures;
        write!(
            f,
            "{} transactions, {} clients gave up, {} left by a drain; worst client {:.0} ms there, \
             {:.0} ms back; {}",
            self.crowd.transactions,
            self.crowd.failed,
            self.left_by_a_drain,
            there.worst_client_ms,
            back.worst_client_ms,
            self.audit
        )
    }
}

pub(super) const CLIENTS: usize = 100;
pub(super) const BUSY_LOOPS: usize = 8;
const NAME: &str = "crowd";
const DATNAME: &str = "orders";
const THERE: u32 = 1;
const BACK: u32 = 2;
/// No wait may last longer; none says anything about speed.
const SOON: Duration = Duration::from_secs(180);
