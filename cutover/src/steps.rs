//! What each command does, one file a step. A step observes, acts only where needed,
//! and returns its proof; running it twice equals running it once.

mod arm;
mod bake_watch;
mod budgets;
mod catch_up;
mod cut_off;
mod drain;
mod durable;
mod end;
mod fence;
mod flip;
mod hold;
mod left_out;
mod left_server;
mod managed;
mod others;
mod outage;
mod outcome;
mod prepare;
mod prime;
mod promote;
mod prove;
mod readers;
mod readiness;
mod routes;
mod run;
mod sessions;
mod shut;
mod silence;
mod slots;
mod source_watch;
mod standing;
mod synchronous;
mod taken_down;
mod undo;

use futures_util::future::BoxFuture;

use crate::machine::{Command, Direction, Step};

pub(crate) use arm::{StreamHealth, still_admitted, stream_health};
pub(crate) use bake_watch::{SourceLook, disturbed, look as look_at_source};
pub(crate) use budgets::BudgetsOfPair;
pub use cut_off::cut_off_standby;
pub(crate) use durable::{
    DurableLook, begin as wait_for_source, end as wait_for_source_no_more, flush as flush_target,
    look as look_at_durability,
};
pub(crate) use left_server::{
    CAME_BACK, LeftServerLook, look as look_at_left_server, not_left_alone,
};
pub(crate) use others::{
    Others, look_beside as look_beside_pair, look_in_bake as look_at_others, what_to_do,
};
pub(crate) use outage::{
    TargetSeen, hold as hold_for_target, is_down as target_is_down, look as look_at_target,
    release as release_to_target,
};
pub(crate) use outcome::{Failure, Problem, Proof};
pub(crate) use prepare::writes_at_risk;
pub(crate) use run::Run;
pub(crate) use sessions::Sessions;
pub(crate) use silence::target_answers;
pub(crate) use slots::{SlotLook, look as look_at_slots};
pub(crate) use synchronous::{SetAgain, set_again};

use outcome::with_all;
use run::answered;

/// Runs the one command that a state owes. `Watch` is the driver's own.
pub(crate) fn perform<'a>(
    run: &'a mut Run<'_>,
    command: Command,
) -> BoxFuture<'a, Result<Proof, Failure>> {
    Box::pin(dispatch(run, command))
}

async fn dispatch(run: &mut Run<'_>, command: Command) -> Result<Proof, Failure> {
    match command {
        Command::SetUp => prepare::set_up(run).await,
        Command::Step(direction, step) => perform_step(run, direction, step).await,
        Command::Undo(Direction::Forward, step) => undo::forward(run, step).await,
        Command::Undo(Direction::Reverse, step) => undo::reverse(run, step).await,
        Command::RequestPromotion => managed::request(run).await,
        Command::AwaitPromotion => managed::observe(run).await,
        Command::Arm => {
            let seen = bake_watch::before_arming(run).await?;
            with_all(arm::run(run).await, seen)
        }
        Command::Complete => end::complete(run).await,
        Command::Cancel => end::cancel(run).await,
        Command::RestoreReaders => readers::restore(run).await,
        Command::Watch => Err(Failure::condition("watching is no step")),
    }
}

async fn perform_step(
    run: &mut Run<'_>,
    direction: Direction,
    step: Step,
) -> Result<Proof, Failure> {
    use {Direction as D, Step as S};
    match (direction, step) {
        (D::Forward, S::Prepare) => prepare::forward(run).await,
        (D::Reverse, S::Prepare) => prepare::reverse(run).await,
        (direction, S::Hold) => hold::run(run, direction).await,
        (D::Forward, S::Fence) => fence::forward(run).await,
        (D::Reverse, S::Fence) => fence::reverse(run).await,
        (D::Forward, S::CatchUp) => catch_up::forward(run).await,
        (D::Reverse, S::CatchUp) => catch_up::reverse(run).await,
        (D::Forward, S::Prove) => prove::forward(run).await,
        (D::Reverse, S::Prove) => prove::reverse(run).await,
        (D::Forward, S::Promote) => promote::forward(run).await,
        (D::Reverse, S::Promote) => promote::reverse(run).await,
        (D::Forward, S::Prime) => prime::forward(run).await,
        (D::Reverse, S::Prime) => prime::reverse(run).await,
        (D::Forward, S::Flip) => flip::forward(run).await,
        (D::Reverse, S::Flip) => flip::reverse(run).await,
    }
}
