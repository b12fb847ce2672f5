//! One round: a migration under strikes, its end, and a look at everything.

use std::{fmt, time::Duration};

use anyhow::Result;
use pointsman_lab::workload::Workload;
use serde_json::Value;

use super::{
    ledger::{GivenUp, Reckoning, changes_allowed, is_named},
    notes::{Noted, Notes},
    operator::{Goal, Meanwhile, Operator, text},
    plan::Plan,
    stage::{SIDECARS, Stage},
};
use crate::{
    audit,
    inventory::{Before, Pair},
};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The state in which the migration was over; empty if it was not.
    pub(super) ended: String,
    pub(super) noted: Noted,
    /// The target has served.
    pub(super) switched: bool,
    pub(super) reckoning: Reckoning,
    pub(super) two_writers: Vec<String>,
    /// What did not come to its end, or does not work at the end.
    pub(super) stuck: Vec<String>,
    pub(super) leftovers: Vec<String>,
    /// Where the migration stood last.
    pub(super) status: Value,
}

/// Runs `plan` with the migration `name`. An error is said in the round, as what is stuck.
pub(super) async fn run(
    stage: &mut Stage,
    given_up: &mut GivenUp,
    plan: &Plan,
    name: &str,
) -> Round {
    let notes = Notes::begin();
    let mut round = Round::default();
    let ran = through(stage, given_up, plan, name, &notes, &mut round).await;
    if let Err(error) = ran {
        round.stuck.push(format!("{error:#}"));
    }
    if round.status.is_null() {
        let status = stage.status(name).await.ok().flatten();
        round.status = status.unwrap_or_default();
    }
    round.noted = notes.all();
    round
}

async fn through(
    stage: &mut Stage,
    given_up: &mut GivenUp,
    plan: &Plan,
    name: &str,
    notes: &Notes,
    round: &mut Round,
) -> Result<()> {
    let datnames = stage.databases.names();
    let before = Before::look(pair(stage, &datnames)).await?;
    let workload = stage.workload()?;
    workload.more_acked(50, SOON).await?;
    let mut operator = Operator {
        stage,
        notes,
        plan,
        name,
        gave_up: false,
    };
    let status = moved(&mut operator, round).await?;
    let gave_up = operator.gave_up;
    let ended = text(&status, "state").to_owned();
    round.ended.clone_from(&ended);
    round.status = status;
    let target_serves = ended == "completed";
    let writer = match target_serves {
        true => 1 - stage.serving,
        false => stage.serving,
    };
    served(stage, &workload, writer, round).await?;
    if let Some(found) = belied(stage, name).await? {
        round.stuck.push(found);
    }
    let other_is_up = !stage.is_retired(1 - writer);
    let leftovers = before.leftovers(pair(stage, &datnames), &ended, other_is_up);
    round.leftovers = leftovers.await?;
    // What nobody could reach at the end is named instead.
    let status = &round.status;
    round.leftovers.retain(|left| !is_named(status, left));
    let record = workload.stop(SOON).await?;
    let changes = audit::changes_of_writer(&record);
    let allowed = changes_allowed(&round.status, target_serves);
    if changes > allowed {
        let sign = format!("the writer changed {changes} times instead of {allowed}");
        round.two_writers.push(sign);
    }
    let left = stage.target().address().port();
    let (writer, serving) = (stage.servers[writer].clone(), writer);
    let gave_up = gave_up.then_some(left);
    round.reckoning = given_up.reckon(stage, record, &writer, gave_up).await?;
    stage.serving = serving;
    Ok(())
}

/// There, a bake, and the end that was meant, each under strikes. Returns the status at the end.
async fn moved(operator: &mut Operator<'_>, round: &mut Round) -> Result<Value> {
    let plan = operator.plan;
    operator.create().await?;
    let start = Meanwhile::Verb("start");
    operator.under(&plan.at_start, start).await?;
    operator.reach(Goal::Prepared).await?;
    let switch = Meanwhile::Verb("switch");
    operator.under(&plan.at_switch, switch).await?;
    let status = operator.reach(Goal::Bake).await?;
    round.switched = changes_allowed(&status, false) > 0;
    if text(&status, "state") == "baking" {
        let bake = Meanwhile::Bake(plan.bake);
        operator.under(&plan.in_bake, bake).await?;
        let ending = Meanwhile::Verb(plan.ending.verb());
        operator.under(&plan.at_ending, ending).await?;
    }
    operator.reach(Goal::End).await
}

/// Every client is served by the writer and by nobody else, and nobody is parked.
async fn served(
    stage: &Stage,
    workload: &Workload,
    writer: usize,
    round: &mut Round,
) -> Result<()> {
    stage.synced().await?;
    let (port, now) = (
        stage.servers[writer].address().port(),
        workload.clock().now(),
    );
    if let Err(unserved) = workload.all_through(port, now, SOON).await {
        round.stuck.push(format!("{unserved:#}"));
    }
    let (writer, other) = (&stage.servers[writer], 1 - writer);
    if !audit::accepts_writes(writer).await {
        let found = format!("{} takes no writes", writer.name());
        round.stuck.push(found);
    }
    let other_server = &stage.servers[other];
    if !stage.is_retired(other) && audit::accepts_writes(other_server).await {
        let found = format!("{} takes writes as well", other_server.name());
        round.two_writers.push(found);
    }
    let parked = audit::parked(&stage.databases.ways(SIDECARS)).await;
    if parked > 0 {
        round
            .stuck
            .push(format!("{parked} new connections are parked"));
    }
    Ok(())
}

/// What `migration verify` does not believe.
async fn belied(stage: &Stage, name: &str) -> Result<Option<String>> {
    let verify = stage.cli(&["migration", "verify", name]).await?;
    let (stdout, stderr) = (verify.stdout, verify.stderr);
    Ok((verify.code != Some(0)).then(|| format!("the journal is not believed: {stdout}{stderr}")))
}

fn pair<'a>(stage: &'a Stage, datnames: &'a [String]) -> Pair<'a> {
    Pair {
        source: stage.source(),
        target: stage.target(),
        datnames,
    }
}

impl Round {
    /// Whether every promise was kept.
    pub(super) fn is_sound(&self) -> bool {
        self.faults().is_empty()
    }

    /// What broke a promise, in words.
    pub(super) fn faults(&self) -> Vec<String> {
        let kinds = [
            ("lost", &self.reckoning.lost),
            ("two writers", &self.two_writers),
            ("stuck", &self.stuck),
            ("left over", &self.leftovers),
        ];
        let faults = kinds
            .into_iter()
            .flat_map(|(kind, found)| found.iter().map(move |found| format!("{kind}: {found}")));
        faults.collect()
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Noted {
            kills,
            cuts,
            needs_operator,
            ..
        } = &self.noted;
        let ended = match self.ended.as_str() {
            "" => "not over",
            ended => ended,
        };
        write!(
            f,
            "{ended}; {} kills, {} cuts, operator asked {needs_operator} times; {} acknowledged, {} errors, {} \
             given up, {} lost",
            kills.values().sum::<u64>(),
            cuts.values().sum::<u64>(),
            self.reckoning.acknowledged,
            self.reckoning.failed,
            self.reckoning.given_up,
            self.reckoning.lost.len()
        )
    }
}

/// No wait lasts longer.
const SOON: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_promise_is_a_fault() {
        assert!(Round::default().is_sound());
        let broken: [fn(&mut Round); 4] = [
            |round| round.reckoning.lost.push("a".to_owned()),
            |round| round.two_writers.push("a".to_owned()),
            |round| round.stuck.push("a".to_owned()),
            |round| round.leftovers.push("a".to_owned()),
        ];
        for breaks in broken {
            let mut round = Round::default();
            breaks(&mut round);
            assert!(!round.is_sound());
        }
    }
}
