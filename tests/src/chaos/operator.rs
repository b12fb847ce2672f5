//! An operator, who asks again, does what `status` offers, and gives up writes last.

mod decision;

use std::time::Duration;

use anyhow::{Result, bail};
use pointsman_lab::control_plane::Output;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(super) use self::decision::Goal;
use self::decision::{Next, SOURCE_IS_DOWN, Standing, TARGET_IS_DOWN};
use super::{
    notes::Notes,
    plan::{Plan, Strike},
    stage::Stage,
    strike,
};

/// One migration, and what was asked of it.
pub(super) struct Operator<'a> {
    pub(super) stage: &'a Stage,
    pub(super) notes: &'a Notes,
    pub(super) plan: &'a Plan,
    pub(super) name: &'a str,
    /// Writes that the target acknowledged may be missing: it was said, and accepted.
    pub(super) gave_up: bool,
}

/// What goes on while strikes fall.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meanwhile {
    Verb(&'static str),
    Bake(Duration),
}

impl Operator<'_> {
    /// Plans the migration, while nothing is struck.
    pub(super) async fn create(&self) -> Result<()> {
        let (source, target) = (self.stage.source().name(), self.stage.target().name());
        let create = ["migration", "create", self.name, "--source", source];
        let create = [&create[..], &["--target", target]].concat();
        self.stage.cli_ok(&create).await?;
        let deadline = Instant::now() + PATIENCE;
        // It blocks also while a server takes its time.
        loop {
            let checks = self.verb(&["preflight"]).await?;
            if matches!(checks.code, Some(0 | 2)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("preflight blocks: {}{}", checks.stdout, checks.stderr);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Lets `strikes` fall meanwhile. Returns once everything is mended.
    pub(super) async fn under(&mut self, strikes: &[Strike], meanwhile: Meanwhile) -> Result<()> {
        let over = CancellationToken::new();
        let going_on = async {
            let going_on = async {
                match meanwhile {
                    Meanwhile::Verb(verb) => self.verb(&[verb]).await.map(|_| ()),
                    Meanwhile::Bake(time) => {
                        sleep(time).await;
                        Ok(())
                    }
                }
            };
            let struck = strike::all(self.stage, self.notes, strikes);
            let ended = tokio::try_join!(going_on, struck);
            over.cancel();
            ended
        };
        let waiting = async {
            let choice = tokio::select! {
                () = over.cancelled() => return Ok::<_, anyhow::Error>(false),
                choice = self.loses_patience(), if self.plan.is_impatient => choice?,
            };
            // What is asked for is not forgotten when everything is mended meanwhile.
            self.notes.tell("the operator waits no longer");
            self.decide(choice).await?;
            Ok(choice == TARGET_IS_DOWN)
        };
        let (ended, gave_up) = tokio::join!(going_on, waiting);
        ended?;
        self.gave_up |= gave_up?;
        if let Err(error) = self.stage.synced().await {
            self.notes.tell(format!("{error:#}"));
        }
        Ok(())
    }

    /// The word that a server is down for good, once that is offered and while it is down. It stays down then.
    async fn loses_patience(&self) -> Result<&'static str> {
        let serving = self.stage.serving;
        loop {
            sleep(LOOK_AGAIN).await;
            let Some(status) = self.stage.status(self.name).await? else {
                continue;
            };
            let offered = choices(&status);
            for (number, choice) in [(1 - serving, TARGET_IS_DOWN), (serving, SOURCE_IS_DOWN)] {
                let is_down = self.stage.servers[number].pid().is_none();
                if is_down && offered.contains(&choice) {
                    return Ok(choice);
                }
            }
        }
    }

    /// Asks, and decides, until the migration stands where it is to.
    ///
    /// # Errors
    /// It does not within its time.
    pub(super) async fn reach(&mut self, goal: Goal) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        let (mut last, mut tries) = (String::new(), 0);
        loop {
            let status = self.settled(deadline).await?;
            let state = text(&status, "state");
            if state != last {
                tries = 0;
                self.notes
                    .tell(format!("{state}: {}", text(&status, "headline")));
                if ["needs_operator", "promotion_stalled"].contains(&state) {
                    self.notes.operator_was_asked();
                }
                state.clone_into(&mut last);
            }
            let standing = Standing {
                state,
                offered: choices(&status),
                tries,
                ending: self.plan.ending,
                source_is_gone: self.stage.is_retired(self.stage.serving),
                target_is_gone: self.stage.is_retired(1 - self.stage.serving),
            };
            let next = standing.next(goal);
            if Instant::now() > deadline {
                bail!("stuck in {state}, with {next:?} to do: {status:#}");
            }
            match next {
                Next::Nothing => return Ok(status),
                Next::Wait => {}
                Next::Ask(args) => {
                    self.asks(args, tries).await?;
                    // What was refused needs time to mend.
                    sleep(BEFORE_ASKING_AGAIN * tries.min(MORE)).await;
                }
                Next::Decide(choice) => {
                    self.gave_up |= choice == TARGET_IS_DOWN;
                    self.decide(choice).await?;
                }
            }
            tries += 1;
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn asks(&mut self, args: &[&str], tries: u32) -> Result<()> {
        if tries > 0 && ["start", "switch"].contains(&args[0]) {
            self.verb(&["preflight"]).await?;
        }
        self.gave_up |= args == ["rollback", "--accept-loss"];
        self.verb(args).await?;
        Ok(())
    }

    /// What a choice asserts is made true first.
    async fn decide(&self, choice: &str) -> Result<()> {
        match choice {
            TARGET_IS_DOWN => self.stage.retire(1 - self.stage.serving).await?,
            SOURCE_IS_DOWN => self.stage.retire(self.stage.serving).await?,
            _ => {}
        }
        self.verb(&["resolve", "--choice", choice]).await?;
        Ok(())
    }

    /// The status once nothing is under way, and somebody drives the migration.
    async fn settled(&self, deadline: Instant) -> Result<Value> {
        loop {
            let status = self.stage.status(self.name).await?;
            let settled = |status: &Value| {
                let is_driven = text(status, "not_driven").is_empty();
                is_driven && !UNDER_WAY.contains(&text(status, "state"))
            };
            if let Some(status) = status.clone().filter(settled) {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let status = status.unwrap_or_default();
                bail!("stuck, under way or without an answer: {status:#}");
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// A verb on the migration; that it is refused is no error.
    async fn verb(&self, args: &[&str]) -> Result<Output> {
        let (verb, flags) = args.split_at(1);
        let all = [&["migration"][..], verb, &[self.name], flags].concat();
        let output = self.stage.cli(&all).await?;
        let code = output
            .code
            .map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let said = output.stderr.lines().next().unwrap_or_default();
        let asked = args.join(" ");
        self.notes.tell(format!("{asked}: exit {code} {said}"));
        Ok(output)
    }
}

fn choices(status: &Value) -> Vec<&str> {
    let choices = status["choices"].as_array().map_or(&[][..], Vec::as_slice);
    choices.iter().map(|choice| text(choice, "name")).collect()
}

pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// States that end by themselves.
const UNDER_WAY: [&str; 4] = ["setting_up", "switching", "promoting", "undoing"];
/// From when everything is mended.
const PATIENCE: Duration = Duration::from_secs(150);
const BEFORE_ASKING_AGAIN: Duration = Duration::from_secs(1);
const MORE: u32 = 3;
/// Each look is a program that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
