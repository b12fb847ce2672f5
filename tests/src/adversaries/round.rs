//! One round: a switch there under attack, an attack in the bake, the end under attack, an audit.

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::{Context as _, Result, bail};
use pointsman_lab::{
    Lab, LabOptions,
    control_plane::Output,
    postgres::PostgresServer,
    workload::{
        Workload, WorkloadOptions,
        verify::{self, WriteAudit},
    },
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::attack::{Acknowledged, Adversary, DATNAME, Kind, Log, TABLE};

/// What is tried in a round, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    kind: Kind,
    /// After the request, an opener opens the database.
    opens: Duration,
    /// Not rolled back, but completed.
    completes: bool,
}

/// What became of it.
pub(super) struct Round {
    pub(super) kind: Kind,
    pub(super) switches: usize,
    pub(super) tries: u64,
    pub(super) acknowledged: u64,
    pub(super) in_the_bake: u64,
    pub(super) named_within_s: f64,
    pub(super) not_named: Vec<String>,
    pub(super) refused: u64,
    pub(super) given_up_by_name: u64,
    pub(super) dropped: Vec<String>,
    pub(super) audit: WriteAudit,
    pub(super) ended: String,
}

impl Plan {
    /// The `number`-th of `seed`: each kind in turn, at a moment that differs.
    pub(super) fn of(seed: u64, number: usize) -> Self {
        let kinds = Kind::ALL.len();
        let kind = Kind::ALL[number % kinds];
        let spread = (number as u64).wrapping_add(seed).wrapping_mul(0x9E37_79B9);
        Self {
            kind,
            opens: Duration::from_millis(spread % 900),
            completes: (number / kinds) % 2 == 1,
        }
    }
}

struct Stage {
    lab: Lab,
    log: Log,
    plan: Plan,
    refused: u64,
    switches: usize,
    /// What `status` has named so far, by transaction and database.
    named: BTreeSet<String>,
}

pub(super) async fn run(plan: Plan) -> Result<Round> {
    let lab = Lab::start(LabOptions {
        sidecars: 1,
        databases: vec![DATNAME.to_owned()],
        ..LabOptions::default()
    })
    .await?;
    let admin = lab.pair.source.client(DATNAME).await?;
    admin.batch_execute(TABLE).await?;
    drop(admin);
    let workload = Workload::start(&WorkloadOptions {
        writers: 8,
        readers: 0,
        ..WorkloadOptions::through_sidecars(&lab)?
    })?;
    let mut stage = Stage {
        lab,
        log: Log::default(),
        plan,
        refused: 0,
        switches: 0,
        named: BTreeSet::new(),
    };
    let (source, target) = (stage.lab.pair.source.clone(), stage.lab.pair.target.clone());
    let create = [
        "create",
        NAME,
        "--source",
        source.name(),
        "--target",
        target.name(),
    ];
    stage.verb(&create).await?;
    stage.verb(&["preflight", NAME]).await?;
    stage.verb(&["start", NAME]).await?;
    workload.more_acked(50, SOON).await?;
    stage.there(&source, &target).await?;
    let bake = stage.in_the_bake(&source).await?;
    let ended = stage.bring_to_its_end(&target).await?;
    let writer = match ended.as_str() {
        "completed" => &target,
        _ => &source,
    };
    workload.more_acked(50, SOON).await?;
    let record = workload.stop(SOON).await?;
    let audit = verify::check(&record, writer).await?;
    stage.judge(writer, bake, audit, ended).await
}

/// What was acknowledged in the bake on the server that had been left.
#[derive(Default)]
struct InTheBake {
    count: u64,
    within: Duration,
    not_named: Vec<String>,
}

impl Stage {
    async fn there(&mut self, source: &PostgresServer, target: &PostgresServer) -> Result<()> {
        // Whoever stays writes on the standby once that is none.
        let attacked = match self.plan.kind {
            Kind::Kept => target,
            Kind::Walsender | Kind::Opener | Kind::ControlRole => source,
        };
        self.under_attack(attacked, &["switch", NAME]).await?;
        Ok(())
    }

    /// Asks while somebody attacks `server`.
    async fn under_attack(&mut self, server: &PostgresServer, verb: &[&str]) -> Result<Output> {
        let Plan { kind, opens, .. } = self.plan;
        let adversary = Adversary::start(kind, server, &self.log, (PACE, opens)).await;
        let output = self.cli(verb).await;
        adversary.end().await?;
        self.switches += usize::from(["switch", "rollback"].contains(&verb[0]));
        output
    }

    /// Attacks the source for a moment, if there is a bake, and waits until `status` names it.
    async fn in_the_bake(&mut self, source: &PostgresServer) -> Result<InTheBake> {
        let status = self.settled().await?;
        if status["state"] != "baking" {
            return Ok(InTheBake::default());
        }
        let before = self.log.acknowledged().len();
        let times = (BAKE_PACE, Duration::ZERO);
        let adversary = Adversary::start(self.plan.kind, source, &self.log, times).await;
        sleep(BAKE_PACE * TRIES_IN_THE_BAKE).await;
        adversary.end().await?;
        let mut open: Vec<Acknowledged> = self.log.acknowledged().split_off(before);
        let mut found = InTheBake {
            count: open.len() as u64,
            ..InTheBake::default()
        };
        while let Some(latest) = open.iter().map(|write| write.at).max() {
            self.look().await?;
            let named = &self.named;
            open.retain(|write| {
                let is_named = named.contains(&write.xid);
                if is_named {
                    found.within = found.within.max(write.at.elapsed());
                }
                !is_named
            });
            if latest.elapsed() > IN_TIME {
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
        found.not_named = open.iter().map(ToString::to_string).collect();
        Ok(found)
    }

    /// Rolls back or completes as an operator does, who reads what is said and gives up what is named.
    async fn bring_to_its_end(&mut self, target: &PostgresServer) -> Result<String> {
        let deadline = Instant::now() + SOON;
        let mut accepts = false;
        loop {
            let status = self.settled().await?;
            self.look().await?;
            let state = status["state"].as_str().unwrap_or_default().to_owned();
            match state.as_str() {
                "completed" | "rolled_back" | "cancelled" => return Ok(state),
                "undone" | "prepared" | "planned" => {
                    self.cli(&["cancel", NAME]).await?;
                }
                "needs_operator" => self.decide(&status).await?,
                _baking => {
                    let verb = if self.plan.completes {
                        "complete"
                    } else {
                        "rollback"
                    };
                    let mut args = vec![verb, NAME];
                    if accepts {
                        args.push("--accept-loss");
                    }
                    let output = match accepts {
                        false => self.under_attack(target, &args).await?,
                        true => self.cli(&args).await?,
                    };
                    self.look().await?;
                    if output.code != Some(0) {
                        self.refused += u64::from(output.stderr.contains("--accept-loss"));
                        accepts = output.stderr.contains("--accept-loss");
                    }
                }
            }
            if Instant::now() > deadline {
                bail!("it does not end: {status:#}");
            }
        }
    }

    async fn decide(&mut self, status: &Value) -> Result<()> {
        let choices = status["choices"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<_> = choices
            .iter()
            .filter_map(|choice| choice["name"].as_str())
            .collect();
        // Nothing is down here: no operator says so.
        let honest = names
            .iter()
            .find(|name| !name.contains("-is-down") && **name != "retry");
        let choice = honest
            .or_else(|| names.first())
            .context("no choice is offered")?;
        self.cli(&["resolve", NAME, "--choice", choice]).await?;
        sleep(LOOK_AGAIN).await;
        Ok(())
    }

    async fn judge(
        self,
        writer: &PostgresServer,
        bake: InTheBake,
        audit: WriteAudit,
        ended: String,
    ) -> Result<Round> {
        let session = writer.client(DATNAME).await?;
        let rows = session.query("SELECT id FROM adversary", &[]).await?;
        let there: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        let acknowledged = self.log.acknowledged();
        let absent = acknowledged
            .iter()
            .filter(|write| !there.contains(&write.id));
        let (named, dropped): (Vec<_>, Vec<_>) =
            absent.partition(|write| self.named.contains(&write.xid));
        Ok(Round {
            kind: self.plan.kind,
            switches: self.switches,
            tries: self.log.tries(),
            acknowledged: acknowledged.len() as u64,
            in_the_bake: bake.count,
            named_within_s: bake.within.as_secs_f64(),
            not_named: bake.not_named,
            refused: self.refused,
            given_up_by_name: named.len() as u64,
            dropped: dropped.iter().map(ToString::to_string).collect(),
            audit,
            ended,
        })
    }

    /// Reads what `status` names now: `731 in orders`.
    async fn look(&mut self) -> Result<()> {
        let status = self.status().await?.to_string();
        let mut before = "";
        for word in status.split([' ', '(', ',', '"']) {
            if word == "in"
                && !before.is_empty()
                && before.bytes().all(|byte| byte.is_ascii_digit())
            {
                self.named.insert(before.to_owned());
            }
            before = word;
        }
        Ok(())
    }

    async fn settled(&self) -> Result<Value> {
        let deadline = Instant::now() + SOON;
        loop {
            let status = self.status().await?;
            let state = status["state"].as_str().unwrap_or_default();
            let arming = status["reverse_stream"] == "arming";
            if SETTLED.contains(&state) && !(state == "baking" && arming) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("it does not settle: {status:#}");
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn status(&self) -> Result<Value> {
        let show = ["migration", "status", NAME];
        self.lab.control_plane.cli_json(&show).await
    }

    async fn verb(&self, args: &[&str]) -> Result<Output> {
        let output = self.cli(args).await?;
        if !matches!(output.code, Some(0 | 2)) {
            bail!("{}: {}{}", args.join(" "), output.stdout, output.stderr);
        }
        Ok(output)
    }

    async fn cli(&self, args: &[&str]) -> Result<Output> {
        let args = [&["migration"], args].concat();
        self.lab.control_plane.cli(&args).await
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {} of {} tries acknowledged, {} in the bake, named within {:.1} s; {} requests refused, {} \
             given up by name, {} dropped; {}",
            self.ended,
            self.acknowledged,
            self.tries,
            self.in_the_bake,
            self.named_within_s,
            self.refused,
            self.given_up_by_name,
            self.dropped.len(),
            self.audit
        )
    }
}

const NAME: &str = "m";
const SETTLED: [&str; 7] = [
    "prepared",
    "undone",
    "baking",
    "rolled_back",
    "completed",
    "cancelled",
    "needs_operator",
];
/// Between two tries while a request is under way.
const PACE: Duration = Duration::from_millis(15);
/// A record names eight transactions; more are counted.
const BAKE_PACE: Duration = Duration::from_millis(100);
const TRIES_IN_THE_BAKE: u32 = 5;
/// What was written in the bake is named within this time.
const IN_TIME: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// No wait may last longer; none says anything about speed.
const SOON: Duration = Duration::from_secs(120);
