//! One case, run once: the fault at its write, the settling, the end, and the audit of it all.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use pointsman_lab::{postgres::PostgresServer, workload::verify};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    process::Child,
    time::{Instant, sleep, sleep_until},
};

use crate::{audit, inventory::Before};

use super::{
    cell::{Cell, Run},
    fault,
    overseer::Stop,
    stage::{self, HOLD, NAME, SOON, Stage},
    wire::Point,
};

/// How a case ended.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Trial {
    /// The state in which the migration settled.
    pub settled: String,
    /// Why it waits for an operator, if it does.
    pub why: String,
    /// What an operator can choose then.
    pub choices: Vec<String>,
    /// The one that was taken.
    pub choice: String,
    /// The state in which the migration was over.
    pub ended: String,
    /// Acknowledged writes that are absent, or that are there otherwise than they were made.
    pub lost_writes: Vec<String>,
    /// Signs that two servers accepted writes.
    pub two_writers: Vec<String>,
    /// Clients that are parked when nothing is under way.
    pub stuck_holds: Vec<String>,
    /// What the servers hold that they should not.
    pub leftovers: Vec<String>,
    /// The last entries of the migration's record.
    pub record: String,
}

/// Everything stands still at the write of a cell.
struct Ready {
    stage: Stage,
    before: Before,
    verb: Child,
}

/// Runs `cell`. Where an operator is asked, `choice` says which of the choices is taken.
///
/// # Errors
/// Something did not happen at all; what happened and should not have is in the trial.
pub(super) async fn run(cell: &Cell, choice: usize) -> Result<Trial> {
    let Ready {
        mut stage,
        before,
        mut verb,
    } = ready(cell).await?;
    fault::happens(&mut stage, cell).await?;
    let happened = Instant::now();
    let ended = tokio::select! {
        ended = verb.wait() => ended.map(|_| ()).context("the verb"),
        brought_back = brought_back(&stage, cell, happened) => match brought_back {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
        () = sleep(SOON) => Err(anyhow::anyhow!("the verb does not end")),
    };
    ended?;
    let status = settled(&stage, cell, happened).await?;
    let mut trial = Trial {
        settled: text(&status, "state"),
        ..Trial::default()
    };
    let mut gone = None;
    if trial.settled == "needs_operator" {
        trial.why = text(&status, "headline");
        gone = decided(&stage, cell, &status, choice, &mut trial).await?;
    } else {
        fault::mended(&stage, cell).await?;
    }
    let state = match trial.choice.as_str() {
        "" => trial.settled.clone(),
        _ => text(
            &stage.until("it has settled", stage::has_settled).await?,
            "state",
        ),
    };
    trial.ended = over(&stage, cell, &state).await?;
    audited(stage, &before, gone, trial).await
}

/// Comes to the write of `cell`. What fails before anything has happened is no outcome of the cell: a
/// machine that is busy lets a deadline pass.
async fn ready(cell: &Cell) -> Result<Ready> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match try_to_be_ready(cell).await {
            Err(_) if left > 0 => {}
            ended => return ended,
        }
    }
}

async fn try_to_be_ready(cell: &Cell) -> Result<Ready> {
    let stage = Stage::set().await?;
    let before = Before::look(stage.pair(&stage.datnames())).await?;
    stage.prepare(cell.place.run).await?;
    stage.overseer.stop_at(Stop {
        label: cell.place.label.clone(),
        occurrence: cell.place.occurrence,
        point: cell.point,
    });
    let verb = stage.begin(cell.place.run)?;
    stage.overseer.stopped(SOON).await?;
    Ok(Ready {
        stage,
        before,
        verb,
    })
}

/// Starts the server that crashed again when it has been away long enough; never returns otherwise.
async fn brought_back(
    stage: &Stage,
    cell: &Cell,
    happened: Instant,
) -> Result<std::convert::Infallible> {
    let away = match cell.intent_is_written() {
        true => LONG,
        false => SHORT,
    };
    sleep_until(happened + away).await;
    if let Some(server) = fault::crashed(stage, cell.fault) {
        server.start().await?;
    }
    std::future::pending().await
}

/// Waits until nothing is under way. A server that crashed is started again meanwhile.
async fn settled(stage: &Stage, cell: &Cell, happened: Instant) -> Result<Value> {
    let settling = stage.until("it has settled", stage::has_settled);
    tokio::select! {
        status = settling => status,
        failed = async {
            match fault::crashed(stage, cell.fault).filter(|server| server.pid().is_none()) {
                Some(_) => brought_back(stage, cell, happened).await.err(),
                None => std::future::pending().await,
            }
        } => Err(failed.context("a server came back")?),
    }
}

/// Nobody is parked and nobody writes while an operator is awaited; then takes the choice. Returns
/// the server that stays down by it.
async fn decided(
    stage: &Stage,
    cell: &Cell,
    status: &Value,
    choice: usize,
    trial: &mut Trial,
) -> Result<Option<PostgresServer>> {
    sleep(HOLD).await;
    let parked = audit::parked(&audit::ways(&stage.lab)).await;
    if parked > 0 {
        trial
            .stuck_holds
            .push(format!("{parked} parked while an operator is awaited"));
    }
    let choices = status["choices"].as_array().map_or(&[][..], Vec::as_slice);
    trial.choices = choices.iter().map(|choice| text(choice, "name")).collect();
    let chosen = trial.choices.get(choice).context("no such choice")?.clone();
    let (source, target) = (stage.source(), stage.target());
    let mut gone = None;
    match chosen.as_str() {
        "open-source-target-is-down" => {
            target.crash().await?;
            gone = Some(target.clone());
        }
        "open-target-source-is-down" => source.crash().await?,
        _ => {}
    }
    for server in [source, target] {
        let asserted = chosen == "open-target-source-is-down" && server.name() == source.name();
        if server.pid().is_none() && gone.is_none() && !asserted {
            server.start().await?;
        }
    }
    if gone.is_some() && source.pid().is_none() {
        source.start().await?;
    }
    if cell.fault == super::cell::Fault::SidecarCut {
        fault::mended(stage, cell).await?;
    }
    let resolve = ["migration", "resolve", NAME, "--choice", &chosen];
    stage.lab.control_plane.cli(&resolve).await?;
    stage
        .until("the choice was taken", stage::has_settled)
        .await?;
    trial.choice = chosen;
    if source.pid().is_none() {
        source.start().await?;
    }
    Ok(gone)
}

/// Brings the migration to its end, and returns the state in which it is over.
async fn over(stage: &Stage, cell: &Cell, state: &str) -> Result<String> {
    let verb = match state {
        "planned" | "prepared" | "undone" => "cancel",
        "baking" => {
            stage
                .until("the way back is proven", stage::is_proven)
                .await?;
            match cell.point {
                Point::Before => "complete",
                Point::After => "rollback",
            }
        }
        over => return Ok(over.to_owned()),
    };
    let deadline = Instant::now() + SOON;
    loop {
        // A session to a server that has been away since is found out by using it: asked again.
        let refused = stage.verb(verb).await.err();
        let status = stage.until("an answer", |_| true).await?;
        let state = text(&status, "state");
        if ["cancelled", "completed", "rolled_back"].contains(&state.as_str()) {
            return Ok(state);
        }
        if Instant::now() > deadline {
            bail!("{verb} does not end: {state}, {refused:?}");
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Holds everything against what must be.
async fn audited(
    stage: Stage,
    before: &Before,
    gone: Option<PostgresServer>,
    mut trial: Trial,
) -> Result<Trial> {
    let (source, target) = (stage.source().clone(), stage.target().clone());
    if let Some(status) = stage.status().await {
        trial.record = stage::brief(&status);
    }
    let (writer, other) = match trial.ended.as_str() {
        "completed" => (&target, &source),
        "cancelled" | "rolled_back" => (&source, &target),
        state => bail!(
            "settled in {}, and {:?} of {:?} led to {state}\n{}",
            trial.settled,
            trial.choice,
            trial.choices,
            trial.record
        ),
    };
    if let Err(unserved) = stage.served_by(writer).await {
        trial.stuck_holds.push(format!("{unserved:#}"));
    }
    if !audit::accepts_writes(writer).await {
        trial
            .stuck_holds
            .push(format!("{} takes no writes", writer.name()));
    }
    let other_is_up = gone.is_none();
    if other_is_up && audit::accepts_writes(other).await {
        trial
            .two_writers
            .push(format!("{} takes writes as well", other.name()));
    }
    trial.leftovers = before
        .leftovers(stage.pair(&stage.datnames()), &trial.ended, other_is_up)
        .await?;
    let Stage { workload, lab, .. } = stage;
    let record = workload.stop(SOON).await?;
    let found = verify::check(&record, writer).await?;
    if !found.is_clean() {
        trial.lost_writes.push(found.to_string());
    }
    let changes = audit::changes_of_writer(&record);
    let allowed = match trial.ended.as_str() {
        "completed" => 1,
        "rolled_back" => 2,
        _ => 0,
    };
    if changes > allowed {
        let sign = format!("the writer changed {changes} times instead of {allowed}");
        trial.two_writers.push(sign);
    }
    drop(lab);
    Ok(trial)
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// The writes of an undisturbed `run`, by what they are about.
///
/// # Errors
/// It did not come to its end.
pub async fn undisturbed(run: Run) -> Result<Vec<String>> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match try_undisturbed(run).await {
            Err(_) if left > 0 => {}
            ended => return ended,
        }
    }
}

async fn try_undisturbed(run: Run) -> Result<Vec<String>> {
    let stage = Stage::set().await?;
    stage.prepare(run).await?;
    stage.overseer.count();
    stage.verb(run.verb()).await?;
    let end = |status: &Value| status["state"] == run.end();
    stage.until("the run has ended", end).await?;
    if run == Run::Switch {
        stage
            .until("the way back is proven", stage::is_proven)
            .await?;
    }
    Ok(stage.overseer.written())
}

/// How often a run may begin.
const TRIES: u32 = 4;
/// How long a server that crashed is away, as a supervisor has it: an undo waits longer for its source.
const SHORT: Duration = Duration::from_secs(3);
/// The same behind the intent of the run: longer than the engine tries to go on without an operator.
const LONG: Duration = Duration::from_secs(16);
