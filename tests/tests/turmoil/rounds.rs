//! Switches there and back, while members come and go.

use std::time::Duration;

use anyhow::{Context as _, Result};
use pointsman_lab::{
    control_plane::Output,
    workload::{Access, Record, Route, Workload, WorkloadOptions, verify},
};
use pointsman_tests::migration::MigrationStatus;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    Size,
    churn::{Churn, Lives},
    envoys::Deployment,
    judge::{Fenced, Report},
    stage::{GROUP, Stage},
    streams::{StreamMember, Way},
    tell,
};

/// Everything that runs beside the members.
struct Run {
    stage: Stage,
    workload: Workload,
    lives: Lives,
    report: Report,
    fenced: Vec<Fenced>,
}

/// Runs `size.rounds` switches there and back, and reports what became of every promise.
pub(crate) async fn run(size: Size) -> Result<Report> {
    let (run, churn) = Run::open(size).await?;
    let stop = CancellationToken::new();
    let (report, ()) = tokio::try_join!(run.through(size, stop.clone()), churn.run(stop))?;
    tell(&format!("{report:#?}"));
    Ok(report)
}

impl Run {
    /// All rounds; `stop` ends the coming and going after the last client.
    async fn through(mut self, size: Size, stop: CancellationToken) -> Result<Report> {
        self.stranger().await?;
        for round in 1..=size.rounds {
            if round > 1 {
                self.stage.new_target().await?;
            }
            let ended = self.round(round).await;
            let tail = || format!("round {round}: {}", self.stage.control_plane.log_tail());
            ended.with_context(tail)?;
        }
        self.close(size, &stop).await
    }

    async fn open(size: Size) -> Result<(Self, Churn)> {
        let mut stage = Stage::open().await?;
        stage.declare().await?;
        stage.add_group().await?;
        let deployment = Deployment::new(&stage).await?;
        let ways = (0..size.envoys).map(|slot| Ok(Route::Fixed(deployment.writer(slot)?)));
        let options = WorkloadOptions {
            readers: 0,
            // The machine is busy with the fleet: enough to see a loss, and no storm.
            writers: 16,
            write_every: Duration::from_millis(80),
            reconnect_every: Duration::from_millis(800),
            ..WorkloadOptions::over(vec![Access {
                datname: GROUP.to_owned(),
                writer: ways.collect::<Result<_>>()?,
                reader: Vec::new(),
            }])
        };
        let workload = Workload::start(&options)?;
        let lives = Lives::new(workload.clock());
        let churn = Churn::start(&stage, deployment, size, &lives).await?;
        workload.more_acked(100, SOON).await?;
        tell(&format!(
            "{} members serve, and come and go",
            lives.all().len()
        ));
        let run = Self {
            stage,
            workload,
            lives,
            report: Report {
                envoys: size.envoys,
                streams: size.streams,
                ..Report::default()
            },
            fenced: Vec::new(),
        };
        Ok((run, churn))
    }

    /// Somebody with a good certificate that no group admits.
    async fn stranger(&mut self) -> Result<()> {
        let claims = pointsman_lab::authority::Claims::of("/elsewhere/web");
        let folder = self.stage.folder();
        let shown = self
            .stage
            .authorities
            .sidecars
            .issue(folder, "stranger", claims)?;
        let way = Way::new(&self.stage, &shown, "127.0.2.1".to_owned())?;
        let served = StreamMember::come(way, "0-0".to_owned()).await;
        self.report.stranger_was_sent = usize::from(served.is_ok());
        let status = self
            .stage
            .control_plane
            .cli_json(&["fleet", "status"])
            .await?;
        let denials = status["access_denials"].as_array().context("denials")?;
        let principal = "spiffe://lab.example/elsewhere/web";
        self.report.stranger_denied = denials
            .iter()
            .any(|denial| denial["principal"] == principal);
        Ok(())
    }

    async fn round(&mut self, round: usize) -> Result<()> {
        let name = format!("m{round}");
        let (source, target) = (self.stage.source.name(), self.stage.target.name());
        let create = [
            "migration",
            "create",
            &name,
            "--source",
            source,
            "--target",
            target,
        ];
        self.stage.ok(&create).await?;
        let preflight = self.verb(&["migration", "preflight", &name]).await?;
        if !matches!(preflight.code, Some(0 | 2)) {
            let said = format!("{name} preflight: {}", preflight.stdout);
            self.report.vetoed.push(said);
            self.stage.ok(&["migration", "cancel", &name]).await?;
            return Ok(());
        }
        self.stage.ok(&["migration", "start", &name]).await?;
        let began = Instant::now();
        let asked = self.workload.clock().now();
        let output = self.verb(&["migration", "switch", &name]).await?;
        if output.code != Some(0) {
            self.report
                .vetoed
                .push(format!("{name} there: {}", output.stderr));
            self.stage.ok(&["migration", "cancel", &name]).await?;
            return Ok(());
        }
        self.report.switches += 1;
        let port = self.stage.target.address().port();
        self.workload.all_through(port, asked, SOON).await?;
        self.until(&name, |status| status["reverse_stream"] == "proven")
            .await?;
        let asked = self.workload.clock().now();
        let output = self.verb(&["migration", "rollback", &name]).await?;
        if output.code != Some(0) {
            self.report
                .vetoed
                .push(format!("{name} back: {}", output.stderr));
            return Ok(());
        }
        self.report.ways_back += 1;
        let port = self.stage.source.address().port();
        self.workload.all_through(port, asked, SOON).await?;
        self.judge(&name).await?;
        tell(&format!(
            "round {round}: there and back in {:.1} s; {} acknowledged, {} left, {} joined in holds so far",
            began.elapsed().as_secs_f64(),
            self.report.acknowledged,
            self.report.left,
            self.report.joined
        ));
        Ok(())
    }

    /// Holds the record of a round against what members and clients know.
    async fn judge(&mut self, name: &str) -> Result<()> {
        let status = self
            .until(name, |status| status["state"] == "rolled_back")
            .await?;
        let status: MigrationStatus = serde_json::from_value(status)?;
        let (lives, clock) = (self.lives.all(), self.workload.clock());
        for switch in [THERE, BACK] {
            self.report.take_switch(&status, switch, &lives, &clock)?;
        }
        let source = (self.stage.source.address().port(), THERE);
        let target = (self.stage.target.address().port(), BACK);
        self.fenced
            .push(Fenced::by(&status, source, Some(BACK), &clock)?);
        self.fenced.push(Fenced::by(&status, target, None, &clock)?);
        Ok(())
    }

    async fn close(self, size: Size, stop: &CancellationToken) -> Result<Report> {
        let Self {
            stage,
            workload,
            lives,
            mut report,
            fenced,
        } = self;
        let record: Record = workload.stop(SOON).await?;
        stop.cancel();
        let lives = lives.all();
        report.came = lives.len() - (size.envoys + size.streams);
        report.went = lives.iter().filter(|life| life.went.is_some()).count();
        report.acknowledged_writes = record.acked_writes();
        report.take_audit(&verify::check(&record, &stage.source).await?);
        report.writes_on_a_fenced_server = fenced.iter().map(|it| it.writes(&record)).sum();
        Ok(report)
    }

    async fn verb(&self, args: &[&str]) -> Result<Output> {
        let output = self.stage.control_plane.cli(args).await?;
        if !matches!(output.code, Some(0 | 2)) {
            let Output { stdout, stderr, .. } = &output;
            tell(&format!("$ pointsman {}\n{stdout}{stderr}", args.join(" ")));
        }
        Ok(output)
    }

    async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let show = ["migration", "status", name];
            let status = self.stage.control_plane.cli_json(&show).await?;
            if holds(&status) {
                return Ok(status);
            }
            anyhow::ensure!(Instant::now() < deadline, "still like this: {status:#}");
            sleep(LOOK_AGAIN).await;
        }
    }
}

const THERE: u32 = 1;
const BACK: u32 = 2;
/// No wait may last longer; none says anything about speed.
const SOON: Duration = Duration::from_secs(120);
/// Each look is a program that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
