//! What each command does, one file a step. A step observes, acts only where needed,
//! and returns its proof; running it twice equals running it once.

mod arm;
mod budgets;
mod catch_up;
mod end;
mod fence;
mod flip;
mod hold;
mod managed;
mod outcome;
mod prepare;
mod prime;
mod promote;
mod prove;
mod readers;
mod readiness;
mod routes;
mod sessions;
mod taken_down;
mod undo;

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::{
    Ports, Settings,
    machine::{Command, Direction, Step},
    migration::Migration,
    ports::{Clock, ControlledServer, ProviderError},
};

pub(crate) use arm::{StreamHealth, still_admitted, stream_health};
pub(crate) use budgets::BudgetsOfPair;
pub(crate) use outcome::{Failure, Problem, Proof};
pub(crate) use prepare::writes_at_risk;
pub(crate) use sessions::Sessions;

use routes::RoutePublisher;

/// What a step works with. It reads the record and returns what it found out; the driver
/// alone changes the record.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) ports: &'a Ports,
    pub(crate) settings: &'a Settings,
    pub(crate) budgets: BudgetsOfPair,
    pub(crate) migration: &'a Migration,
    pub(crate) sessions: &'a mut Sessions,
}

impl<'a> Run<'a> {
    fn clock(&self) -> &'a dyn Clock {
        &*self.ports.clock
    }

    fn routes(&self) -> RoutePublisher<'a> {
        RoutePublisher::of(self)
    }
}

/// Bounds what a server is asked to do within `wait`: by itself a statement may take longer
/// than the clients that are parked meanwhile can wait.
async fn answered<T>(
    clock: &dyn Clock,
    server: &ControlledServer,
    wait: Duration,
    what: &str,
    asking: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    clock
        .timeout(wait + LAST_LOOK, asking)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(ProviderError::Unreachable {
                server: server.name().clone(),
                reason: format!("no answer for {wait:?} to: {what}"),
            })
        })
}

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
        Command::Arm => arm::run(run).await,
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

/// A server that answers says at the end of a wait how far it is.
const LAST_LOOK: Duration = Duration::from_millis(250);
