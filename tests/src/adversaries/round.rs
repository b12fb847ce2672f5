//! One round: a switch there under attack, an attack in the bake, the end under attack, an audit.

use std::{collections::BTreeSet, fmt, fs, mem, pin::pin, time::Duration};

use anyhow::{Context as _, Result, bail};
use pointsman_lab::{
    Lab, LabOptions,
    control_plane::Output,
    postgres::{PostgresServer, Ways, start_standby},
    workload::{
        Workload, WorkloadOptions,
        verify::{self, WriteAudit},
    },
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    attack::{Adversary, DATNAME, Kind, Log, TABLE},
    bake::InTheBake,
    naming::Named,
};

/// What is tried in a round, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    /// How long after the request somebody opens or promotes a server.
    acts: Duration,
    /// Not rolled back, but completed.
    pub(super) completes: bool,
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
    /// Transactions that an operator's `--accept-loss` gave up, as the record has counted them.
    pub(super) given_up_by_word: u64,
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
            acts: Duration::from_millis(spread % A_SWITCH_MS),
            completes: (number / kinds) % 2 == 1,
        }
    }
}

pub(super) struct Stage {
    pub(super) lab: Lab,
    /// Another standby of the source, where somebody promotes one.
    pub(super) third: Option<PostgresServer>,
    pub(super) log: Log,
    pub(super) plan: Plan,
    pub(super) refused: u64,
    /// How often an operator has decided.
    pub(super) decisions: u64,
    switches: usize,
    /// What `status` has named so far.
    pub(super) named: Named,
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
        third: None,
        log: Log::default(),
        plan,
        refused: 0,
        decisions: 0,
        switches: 0,
        named: Named::default(),
    };
    let (source, target) = (stage.lab.pair.source.clone(), stage.lab.pair.target.clone());
    let mut create = vec!["create", NAME, "--source", source.name()];
    create.extend(["--target", target.name()]);
    if plan.kind == Kind::OtherPromoter {
        stage.add_a_third(&source).await?;
        create.extend(["--waive", "S6=red"]);
    }
    stage.verb(&create).await?;
    stage.verb(&["preflight", NAME]).await?;
    stage.verb(&["start", NAME]).await?;
    workload.more_acked(50, SOON).await?;
    stage.there(&source, &target).await?;
    let bake = stage.in_the_bake(&source).await?;
    let ended = stage.bring_to_its_end(&source, &target).await?;
    let writer = match ended.as_str() {
        "completed" => &target,
        _ => &source,
    };
    workload.more_acked(50, SOON).await?;
    let record = workload.stop(SOON).await?;
    let audit = verify::check(&record, writer).await?;
    stage.judge(writer, bake, audit, ended).await
}

impl Stage {
    async fn there(&mut self, source: &PostgresServer, target: &PostgresServer) -> Result<()> {
        // Whoever stays writes on the standby once that is none.
        let attacked = match self.plan.kind {
            Kind::Kept | Kind::TargetPromoter => target,
            Kind::OtherPromoter => &self.third.clone().context("a third server")?,
            Kind::Walsender | Kind::Opener | Kind::ControlRole => source,
        };
        self.under_attack(attacked, &["switch", NAME]).await?;
        Ok(())
    }

    /// A standby that the catalogue names, so that it is asked.
    async fn add_a_third(&mut self, source: &PostgresServer) -> Result<()> {
        let folder = self.lab.scratch.path();
        let third = start_standby("red", folder, source).await?;
        let ways = Ways {
            fence: "sql",
            control: third.address(),
            replication: None,
        };
        let file = folder.join("red.toml");
        fs::write(&file, third.declaration(ways, folder)?)?;
        let apply = ["database", "apply", &file.to_string_lossy()];
        self.lab.control_plane.cli_ok(&apply).await?;
        self.third = Some(third);
        Ok(())
    }

    /// Asks while somebody attacks `server`, and reads the status meanwhile.
    pub(super) async fn under_attack(
        &mut self,
        server: &PostgresServer,
        verb: &[&str],
    ) -> Result<Output> {
        let Plan { kind, acts, .. } = self.plan;
        let adversary = Adversary::start(kind, server, &self.log, (PACE, acts)).await;
        let mut named = mem::take(&mut self.named);
        let output = {
            let mut asked = pin!(self.cli(verb));
            loop {
                tokio::select! {
                    output = &mut asked => break output,
                    () = sleep(LOOK_AGAIN) => named.read(&self.status().await?),
                }
            }
        };
        self.named = named;
        adversary.end().await?;
        self.switches += usize::from(["switch", "rollback"].contains(&verb[0]));
        output
    }

    async fn judge(
        mut self,
        writer: &PostgresServer,
        bake: InTheBake,
        audit: WriteAudit,
        ended: String,
    ) -> Result<Round> {
        let session = writer.client(DATNAME).await?;
        let rows = session.query("SELECT id FROM adversary", &[]).await?;
        let there: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        let acknowledged = self.log.acknowledged();
        let absent = acknowledged.iter().cloned();
        let absent: Vec<_> = absent.filter(|write| !there.contains(&write.id)).collect();
        let given_up_by_word = given_up_by_word(&self.status().await?);
        // What it wrote on the target that served went with the applications' writes.
        let with_them = self.plan.kind == Kind::TargetPromoter
            && (absent.len() + audit.lost.len()) as u64 <= given_up_by_word;
        let absent = if with_them { Vec::new() } else { absent };
        let mut not_named = bake.not_named;
        // A server that was left is looked at behind the end, too.
        let at_the_end = self.until_named(absent.clone()).await?;
        not_named.extend(at_the_end.not_named);
        let (named, dropped): (Vec<_>, Vec<_>) = absent
            .into_iter()
            .partition(|write| self.named.after(write).is_some());
        let within = bake.within.max(at_the_end.within);
        Ok(Round {
            kind: self.plan.kind,
            switches: self.switches,
            tries: self.log.tries(),
            acknowledged: acknowledged.len() as u64,
            in_the_bake: bake.count,
            named_within_s: within.as_secs_f64(),
            not_named,
            refused: self.refused,
            given_up_by_name: named.len() as u64,
            given_up_by_word,
            dropped: dropped.iter().map(ToString::to_string).collect(),
            audit,
            ended,
        })
    }

    /// Reads what `status` names now.
    pub(super) async fn look(&mut self) -> Result<()> {
        let status = self.status().await?;
        self.named.read(&status);
        Ok(())
    }

    pub(super) async fn settled(&self) -> Result<Value> {
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

    pub(super) async fn cli(&self, args: &[&str]) -> Result<Output> {
        let args = [&["migration"], args].concat();
        self.lab.control_plane.cli(&args).await
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {} of {} tries acknowledged, {} in the bake, named within {:.1} s; {} requests refused, {} \
             given up by name, {} by a word, {} dropped; {}",
            self.ended,
            self.acknowledged,
            self.tries,
            self.in_the_bake,
            self.named_within_s,
            self.refused,
            self.given_up_by_name,
            self.given_up_by_word,
            self.dropped.len(),
            self.audit
        )
    }
}

/// What the rollback that went on all the same says of the transactions that it leaves.
fn given_up_by_word(status: &Value) -> u64 {
    let timeline = status["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    let mut counted = timeline
        .iter()
        .rev()
        .filter_map(|entry| entry["evidence"]["writes_lost"].as_u64());
    counted.next().unwrap_or_default()
}

pub(super) const NAME: &str = "m";
/// A switch takes as long as this, or a rollback.
const A_SWITCH_MS: u64 = 450;
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
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// No wait may last longer; none says anything about speed.
pub(super) const SOON: Duration = Duration::from_secs(120);
