//! One round: a fresh cluster, a switch there, a switch back, an audit.

use std::{fmt, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use pointsman_lab::{
    postgres::connect,
    scratch::{Scratch, Storage},
    workload::{
        Access, Figures, Moment, Record, Route, Switch, Workload, WorkloadOptions,
        verify::{self, WriteAudit},
    },
};
use tokio::time::{Instant, sleep};

use super::{
    haproxy::HaProxy,
    patroni::{Node, PATIENCE, Patroni},
    pgbouncer::PgBouncer,
    tools::Tools,
};
use crate::bench::round::{self, RATE, WARM};

/// What stands between the clients and Patroni's servers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Front {
    HaProxy,
    PgBouncer,
}

/// What one round measured.
#[derive(Clone, Debug)]
pub(super) struct Round {
    /// There and back.
    pub(super) switches: [Figures; 2],
    pub(super) audit: WriteAudit,
}

/// A running front.
enum Door {
    HaProxy(HaProxy),
    PgBouncer(PgBouncer),
}

/// Runs a round of Patroni behind `front`.
pub(super) async fn run(front: Front, tools: &Tools) -> Result<Round> {
    let scratch = Scratch::on(Storage::Disk)?;
    let cluster = Patroni::start(scratch.path(), tools, &DATABASES).await?;
    let (blue, green) = (&cluster.blue, &cluster.green);
    let door = Door::open(front, scratch.path(), tools, &cluster).await?;
    let way = || vec![Route::Fixed(door.address())];
    let accesses = DATABASES.map(|datname| Access {
        datname: datname.to_owned(),
        writer: way(),
        reader: way(),
    });
    let workload = Workload::start(&WorkloadOptions::over(accesses.into()))?;
    let there = switch(&workload, &door, blue, green).await?;
    green
        .until("streams", |cluster| cluster.streams_to(blue.name))
        .await?;
    let back = switch(&workload, &door, green, blue).await?;
    let end = workload.clock().now();
    let record = workload.stop(PATIENCE).await?;
    let switches = [
        figures(&record, blue, green, there, back).context("there")?,
        figures(&record, green, blue, back, end).context("back")?,
    ];
    let audit = audit(&record, blue).await?;
    drop(door);
    let leader = blue.name;
    cluster.stop(leader).await?;
    Ok(Round { switches, audit })
}

/// Hands over from one node to the other, and says when that was asked for.
async fn switch(workload: &Workload, door: &Door, from: &Node, to: &Node) -> Result<Moment> {
    workload.steady(RATE, WARM, PATIENCE).await?;
    let asked = workload.clock().now();
    match door {
        Door::HaProxy(_) => from.hand_over(to).await?,
        Door::PgBouncer(pgbouncer) => pgbouncer.hand_over(from, to).await?,
    }
    let port = to.address().port();
    workload.all_through(port, asked, PATIENCE).await?;
    Ok(asked)
}

fn figures(
    record: &Record,
    from: &Node,
    to: &Node,
    hold: Moment,
    until: Moment,
) -> Result<Figures> {
    record.figures(&Switch {
        hold,
        old: from.address().port(),
        new: to.address().port(),
        until,
        fault: None,
    })
}

async fn audit(record: &Record, writer: &Node) -> Result<WriteAudit> {
    let mut audit = WriteAudit::default();
    for datname in record.datnames() {
        let rows = verify::read_rows(&*writer.session(datname).await?).await?;
        audit = audit.and(verify::compare(record, datname, &rows));
    }
    Ok(audit)
}

impl Door {
    /// Starts the front and waits until clients get through.
    async fn open(front: Front, folder: &Path, tools: &Tools, cluster: &Patroni) -> Result<Self> {
        let program = &tools.front;
        let door = match front {
            Front::HaProxy => Self::HaProxy(HaProxy::start(folder, program, cluster)?),
            Front::PgBouncer => {
                let primary = &cluster.blue;
                Self::PgBouncer(PgBouncer::start(folder, program, primary, &DATABASES)?)
            }
        };
        let (address, datname) = (door.address(), DATABASES[0]);
        let place = format!(
            "host={} port={} user=app dbname={datname}",
            address.ip(),
            address.port()
        );
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = connect(&place).await {
            if Instant::now() > deadline {
                return Err(error.context(format!("no client gets through {front:?}")));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(door)
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::HaProxy(haproxy) => haproxy.address(),
            Self::PgBouncer(pgbouncer) => pgbouncer.address(),
        }
    }
}

impl From<round::Round> for Round {
    fn from(round: round::Round) -> Self {
        Self {
            switches: [round.forward.figures, round.rollback.figures],
            audit: round.audit,
        }
    }
}

/// Errors that are no failed connect: refused statements, those without an answer, and sessions that ended between two.
pub(super) fn failed_statements(figures: &Figures) -> u64 {
    figures.errors - figures.connect_errors
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (way, figures) in ["there", "back"].iter().zip(&self.switches) {
            let Figures {
                write_pause_ms,
                worst_client_ms,
                connect_errors,
                ..
            } = figures;
            let statements = failed_statements(figures);
            write!(
                f,
                "{way}: pause {write_pause_ms:.1} ms, worst client {worst_client_ms:.1} ms, \
                 {connect_errors} failed connects, {statements} failed statements; "
            )?;
        }
        write!(f, "{}", self.audit)
    }
}

const DATABASES: [&str; 2] = ["orders", "billing"];
const LOOK_AGAIN: Duration = Duration::from_millis(20);
