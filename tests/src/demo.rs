//! The main job from end to end, told as it goes: a server moves under load, and comes back by itself.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};

mod report;
mod security;
mod setting;
mod story;

pub use report::{Rates, Report, RollbackReport, SwitchReport};
pub use security::Security;
pub use setting::{NO_AUTOVACUUM, Setting};
pub use story::Story;

use crate::migration::{Follower, MigrationStatus};
use pointsman_lab::Lab;
use pointsman_lab::result_file::ResultFile;
use pointsman_lab::workload::verify::{self, WriteAudit};
use pointsman_lab::workload::{Figures, Moment, Record, Switch, Workload, WorkloadOptions};

/// Acknowledged writes per second from which the clients count as being at work. What a machine
/// does besides decides how many there are, so nothing is promised of the number.
const AT_WORK: f64 = 1.0;

/// The demo's parts while it runs.
struct Stage {
    story: Story,
    lab: Lab,
    workload_options: WorkloadOptions,
    workload: Workload,
    follower: Follower,
    /// On managed servers.
    security: Option<Security>,
}

/// When things happened that only the lab knows.
struct Marks {
    /// The clients were at work.
    warm: Moment,
    /// Every client was through the first switch.
    settled: Moment,
    /// The target was broken.
    broke: Moment,
    /// Every client was through the way back.
    home: Moment,
    /// The clients were told to stop.
    end: Moment,
}

/// Runs the demo, leaves its report behind, and says which promises were broken.
pub async fn main(setting: Setting) -> ExitCode {
    let story = Story::begin();
    let broken = match reported(story, setting).await {
        Ok(report) => report.broken_promises,
        Err(error) => vec![format!("the story did not come to its end: {error:#}")],
    };
    if broken.is_empty() {
        story.tell(&format!("every promise was kept: {}", setting.report()));
        return ExitCode::SUCCESS;
    }
    for promise in broken {
        story.tell(&format!("BROKEN PROMISE: {promise}"));
    }
    ExitCode::FAILURE
}

async fn reported(story: Story, setting: Setting) -> anyhow::Result<Report> {
    let file = ResultFile::fresh(setting.report())?;
    let report = run(story, setting).await?;
    file.write(&report)?;
    Ok(report)
}

/// Runs the demo and reports what it measured.
///
/// # Errors
/// Something did not happen at all; what happened, but not as promised, is in the report.
async fn run(story: Story, setting: Setting) -> anyhow::Result<Report> {
    let (mut stage, warm) = Stage::set(story, setting).await?;
    stage.look().await?;
    let settled = stage.forward().await?;
    stage.bake().await?;
    stage.look().await?;
    let broke = stage.break_target().await?;
    let home = stage.way_back(broke).await?;
    let rate = stage.workload.steady(AT_WORK, SECOND, SOON).await?;
    story.tell(&format!("the source acknowledges {rate:.0} writes/s again"));
    stage.workload.steady(AT_WORK, CALM, SOON).await?;
    stage.look().await?;
    let end = stage.workload.clock().now();
    let marks = Marks {
        warm,
        settled,
        broke,
        home,
        end,
    };
    stage.verdict(&marks).await
}

impl Stage {
    /// Lab up, clients at work, migration ready.
    async fn set(story: Story, setting: Setting) -> anyhow::Result<(Self, Moment)> {
        story.chapter("The lab: two PostgreSQL servers, three Envoy sidecars, Pointsman");
        let lab = Lab::start(setting.options())
            .await
            .context("starting the lab")?;
        let (source, target) = (&lab.pair.source, &lab.pair.target);
        story.tell(&format!("{} serves at {}", source.name(), source.address()));
        story.tell(&format!(
            "{} follows it at {}",
            target.name(),
            target.address()
        ));
        let security = match setting.introduce(&lab) {
            None => None,
            Some(introduction) => {
                story.tell(&introduction);
                Some(Security::tried(&lab, story).await?)
            }
        };
        story.show(&lab.control_plane.cli_ok(&["fleet", "status"]).await?);

        let workload_options = WorkloadOptions::through_sidecars(&lab)?;
        let workload = Workload::start(&workload_options)?;
        let (writers, readers) = (workload_options.writers, workload_options.readers);
        story.tell(&format!(
            "{writers} clients write and {readers} read, through the sidecars alone"
        ));
        let rate = workload.steady(AT_WORK, SECOND, SOON).await?;
        let warm = workload.clock().now();
        story.tell(&format!("{rate:.0} acknowledged writes/s"));

        story.chapter("The migration: checked, prepared");
        let (from, to) = (source.name(), target.name());
        let create = [
            "migration",
            "create",
            NAME,
            "--source",
            from,
            "--target",
            to,
        ];
        lab.control_plane.cli_ok(&create).await?;
        let checks = lab
            .control_plane
            .cli(&["migration", "preflight", NAME])
            .await?;
        story.show(&checks.stdout);
        ensure!(
            matches!(checks.code, Some(PASSED | WARNED)),
            "preflight blocks the migration: {}",
            checks.stderr
        );
        let follower = Follower::start(&lab.control_plane, NAME, move |entry| story.entry(entry))?;
        lab.control_plane
            .cli_ok(&["migration", "start", NAME])
            .await?;
        workload.steady(AT_WORK, CALM, SOON).await?;
        Ok((
            Self {
                story,
                lab,
                workload_options,
                workload,
                follower,
                security,
            },
            warm,
        ))
    }

    /// The switch to the target. Returns when every client is through.
    async fn forward(&mut self) -> anyhow::Result<Moment> {
        self.story
            .chapter("The switch: hold, fence, catch up, promote, flip");
        let asked = self.workload.clock().now();
        self.lab
            .control_plane
            .cli_ok(&["migration", "switch", NAME])
            .await?;
        let target = port(&self.lab.pair.target);
        self.workload.all_through(target, asked, SOON).await?;
        let settled = self.workload.clock().now();
        let name = self.lab.pair.target.name();
        self.story
            .tell(&format!("every client is served by {name}"));
        self.story
            .show(&self.lab.control_plane.cli_ok(&["fleet", "status"]).await?);
        let status = self
            .follower
            .until("the switch's record", SOON, |s| s.state == "baking")
            .await?;
        self.tell_pause(&status, FORWARD, self.workload.clock().now(), None)?;
        Ok(settled)
    }

    /// The bake: the way back is proven, and the target serves for a while.
    async fn bake(&mut self) -> anyhow::Result<()> {
        self.story
            .chapter("The bake: the reverse stream is armed, alarms are watched");
        let proven = |status: &MigrationStatus| status.reverse_stream == "proven";
        self.follower
            .until("the reverse stream", LONG, proven)
            .await?;
        let rate = self.workload.steady(AT_WORK, CALM, SOON).await?;
        self.story.tell(&format!(
            "the target acknowledges {rate:.0} writes/s; going back would lose nothing"
        ));
        Ok(())
    }

    /// Breaks the target from outside; Pointsman is not told.
    async fn break_target(&self) -> anyhow::Result<Moment> {
        self.story
            .chapter("The fault: the target stops taking writes, and nobody tells Pointsman");
        let operator = self.lab.pair.target.client("postgres").await?;
        operator
            .batch_execute("ALTER SYSTEM SET default_transaction_read_only = on")
            .await?;
        let broke = self.workload.clock().now();
        operator.batch_execute("SELECT pg_reload_conf()").await?;
        self.story.tell(
            "ALTER SYSTEM SET default_transaction_read_only = on, and a reload, on the target",
        );
        Ok(broke)
    }

    /// Waits for Pointsman to go back by itself, until every client is through.
    async fn way_back(&mut self, broke: Moment) -> anyhow::Result<Moment> {
        let back = |status: &MigrationStatus| status.state == "rolled_back";
        let status = self
            .follower
            .until("the alarm to send the writer back", LONG, back)
            .await?;
        self.story.tell(&status.cause);
        let source = port(&self.lab.pair.source);
        let hold = status.hold_published(ROLLBACK, &self.workload.clock())?;
        self.workload.all_through(source, hold, SOON).await?;
        let home = self.workload.clock().now();
        let name = self.lab.pair.source.name();
        self.story
            .tell(&format!("every client is served by {name} again"));
        self.story
            .show(&self.lab.control_plane.cli_ok(&["fleet", "status"]).await?);
        self.tell_pause(&status, ROLLBACK, home, Some(broke))?;
        Ok(home)
    }

    /// Counts the sessions on managed servers.
    async fn look(&mut self) -> anyhow::Result<()> {
        match &mut self.security {
            Some(security) => security.look(&self.lab).await,
            None => Ok(()),
        }
    }

    /// Stops the clients, compares, and draws up the report.
    async fn verdict(self, marks: &Marks) -> anyhow::Result<Report> {
        let Self {
            story,
            lab,
            workload_options,
            workload,
            follower,
            mut security,
        } = self;
        story.chapter("The verdict");
        let record = workload.stop(SOON).await?;
        let status = follower.status();
        let audit = verify::check(&record, &lab.pair.source).await?;
        story.tell(&format!(
            "{} acknowledged, {} were in doubt",
            record.acked_writes(),
            record.in_doubt_writes()
        ));
        story.tell(&format!("{}: {audit}", lab.pair.source.name()));
        let switches = Switches::of(&status, &record, &lab, marks)?;
        if let (Some(security), Some(cloud)) = (&mut security, &lab.cloud) {
            security.promotion_requests = cloud.promotion.requests();
            story.tell(&format!(
                "{} sessions over TCP were looked at, {} of them Pointsman's: {} without TLS, {} of superusers",
                security.sessions,
                security.control_sessions,
                security.unencrypted_sessions,
                security.superuser_sessions
            ));
        }
        let report = switches.report(&lab, &workload_options, &record, &audit);
        Ok(Report { security, ..report }.judged())
    }

    fn tell_pause(
        &self,
        status: &MigrationStatus,
        number: u32,
        until: Moment,
        broke: Option<Moment>,
    ) -> anyhow::Result<()> {
        let record = self.workload.record();
        let hold = status.hold_published(number, &record.clock)?;
        let figures = record.figures(&switch(&self.lab, number, hold, until))?;
        if let Some(broke) = broke {
            let noticed = hold.ms_since(broke);
            self.story.tell(&format!(
                "the alarm had noticed within {noticed:.0} ms of the break; from the hold on:"
            ));
        }
        let Figures {
            write_pause_after_hold_ms,
            worst_client_after_hold_ms,
            reader_gap_after_hold_ms,
            ..
        } = figures;
        self.story.tell(&format!(
            "nobody's write was acknowledged for {write_pause_after_hold_ms:.1} ms; the slowest writer waited \
             {worst_client_after_hold_ms:.1} ms, the slowest reader {reader_gap_after_hold_ms:.1} ms; the fleet \
             acknowledged the hold in {:.1} ms",
            status.barrier_ms(number)?
        ));
        Ok(())
    }
}

/// Both switches in figures.
struct Switches {
    rates: Rates,
    forward: Figures,
    rollback: Figures,
    forward_barrier_ms: f64,
    rollback_barrier_ms: f64,
    fault_ms: f64,
    errors_of_the_fault: u64,
    cause: String,
}

impl Switches {
    fn of(
        status: &MigrationStatus,
        record: &Record,
        lab: &Lab,
        marks: &Marks,
    ) -> anyhow::Result<Self> {
        let Marks {
            warm,
            settled,
            broke,
            home,
            end,
        } = *marks;
        let there = status.hold_published(FORWARD, &record.clock)?;
        let back = status.hold_published(ROLLBACK, &record.clock)?;
        Ok(Self {
            rates: Rates {
                before: record.acked_per_s(warm, there),
                between: record.acked_per_s(settled, broke),
                after: record.acked_per_s(home, end),
            },
            forward: record.figures(&switch(lab, FORWARD, there, broke))?,
            rollback: record.figures(&switch(lab, ROLLBACK, back, end))?,
            forward_barrier_ms: status.barrier_ms(FORWARD)?,
            rollback_barrier_ms: status.barrier_ms(ROLLBACK)?,
            fault_ms: back.ms_since(broke),
            errors_of_the_fault: record.errors_between(broke, back),
            cause: status.cause.clone(),
        })
    }

    fn report(
        &self,
        lab: &Lab,
        workload_options: &WorkloadOptions,
        record: &Record,
        audit: &WriteAudit,
    ) -> Report {
        let Self {
            forward, rollback, ..
        } = self;
        let sum = |figure: fn(&Figures) -> u64| figure(forward) + figure(rollback);
        let during = sum(|f| f.errors) + sum(|f| f.errors_of_the_fault);
        let all: usize = record
            .clients
            .iter()
            .map(|client| client.failures().count())
            .sum();
        let lost_writes = audit.lost.len();
        Report {
            sidecars: lab.sidecars.len(),
            databases: lab.databases.len(),
            clients: workload_options.writers,
            readers: workload_options.readers,
            acked_writes: record.acked_writes(),
            in_doubt_writes: record.in_doubt_writes(),
            lost_writes,
            duplicate_writes: audit.duplicated.len(),
            out_of_order_writes: audit.out_of_order.len(),
            phantom_writes: audit.phantom.len(),
            connect_errors: sum(|f| f.connect_errors),
            max_errors_per_session_client_per_switch: forward
                .max_errors_per_session_client
                .max(rollback.max_errors_per_session_client),
            errors_of_reconnecting_clients: sum(|f| f.errors_of_reconnecting_clients),
            reader_errors_new_connections: sum(|f| f.reader_errors_new_connections),
            errors_of_the_fault: self.errors_of_the_fault + rollback.errors_of_the_fault,
            errors_of_the_fault_after_the_hold: rollback.errors_of_the_fault,
            errors_elsewhere: (all as u64).saturating_sub(during + self.errors_of_the_fault),
            acked_writes_per_s: self.rates,
            forward: SwitchReport::new(forward, self.forward_barrier_ms),
            rollback: RollbackReport {
                trigger: if self.cause.starts_with("alarm") {
                    "alarm"
                } else {
                    "operator"
                },
                cause: self.cause.clone(),
                switch: SwitchReport::new(rollback, self.rollback_barrier_ms),
                fault_ms: self.fault_ms,
                write_pause_after_hold_ms: rollback.write_pause_after_hold_ms,
                worst_client_after_hold_ms: rollback.worst_client_after_hold_ms,
                lost_writes,
            },
            security: None,
            verdict: "",
            broken_promises: Vec::new(),
        }
    }
}

fn switch(lab: &Lab, number: u32, hold: Moment, until: Moment) -> Switch {
    let (blue, green) = (port(&lab.pair.source), port(&lab.pair.target));
    match number {
        FORWARD => Switch {
            hold,
            old: blue,
            new: green,
            until,
            fault: None,
        },
        _ => Switch {
            hold,
            old: green,
            new: blue,
            until,
            fault: Some(READ_ONLY),
        },
    }
}

fn port(server: &pointsman_lab::postgres::PostgresServer) -> u16 {
    server.address().port()
}

const NAME: &str = "blue-to-green";
const FORWARD: u32 = 1;
const ROLLBACK: u32 = 2;
/// Exit codes of `migration preflight`.
const PASSED: i32 = 0;
const WARNED: i32 = 2;
/// `read_only_sql_transaction`: how the broken target refuses.
const READ_ONLY: &str = "25006";
const SECOND: Duration = Duration::from_secs(1);
const CALM: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(90);
