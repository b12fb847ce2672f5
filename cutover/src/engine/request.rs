//! What an operator asks of one migration, and the event that it becomes.

use pointsman_catalog::UnixMillis;

use super::{choice::ChoiceName, error::EngineError};
use crate::{
    Settings,
    machine::{Direction, Event, State},
    migration::Migration,
};

/// What an operator, or a caller on their behalf, asks of one migration.
#[derive(Clone, Debug)]
pub(super) enum OperatorRequest {
    /// Record that a preflight found nothing that blocks.
    RecordPreflight(UnixMillis),
    Start,
    Switch,
    Rollback {
        accept_loss: bool,
    },
    WithdrawRollback,
    /// Give up what others did on the source.
    AcceptSourceWrites,
    Complete {
        source_is_gone: bool,
    },
    Cancel,
    Resolve(ChoiceName),
    /// Give up what stands on both servers.
    Abandon,
    /// Somebody moves the routes by hand.
    Park {
        reason: String,
    },
}

/// What becomes of a request that is not refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Admitted {
    /// It is recorded, and changes no state.
    Preflight(UnixMillis),
    Event(Event, String),
}

impl OperatorRequest {
    /// The event that this request is `now`, or why it is refused.
    pub(super) fn admit(
        &self,
        migration: &Migration,
        settings: &Settings,
        now: UnixMillis,
    ) -> Result<Admitted, EngineError> {
        let (event, reason) = match *self {
            Self::RecordPreflight(at) => return Ok(Admitted::Preflight(at)),
            Self::Start => (Event::StartRequested, "start was asked for"),
            Self::Switch => (Event::SwitchRequested, "a switch was asked for"),
            Self::Rollback { accept_loss } => rollback(migration.state(), accept_loss),
            Self::WithdrawRollback => (
                Event::RollbackWithdrawn,
                "an operator withdrew the rollback that waited",
            ),
            Self::AcceptSourceWrites => (
                Event::SourceWritesAccepted,
                "an operator gave up what others did on the source in the bake",
            ),
            Self::Complete {
                source_is_gone: false,
            } => (Event::CompleteRequested, "completion was asked for"),
            Self::Complete {
                source_is_gone: true,
            } => (
                Event::CompleteWithoutSourceRequested,
                "completion was asked for, asserting that the source is down for good",
            ),
            Self::Cancel => (Event::CancelRequested, "cancelling was asked for"),
            Self::Resolve(choice) => choose(choice),
            Self::Abandon => (
                Event::AbandonRequested,
                "an operator gave up what stands on both servers",
            ),
            Self::Park { ref reason } => (Event::MovedByHand, reason.as_str()),
        };
        migration.machine.apply(event, now).map_err(|refused| {
            if migration.machine.asks_for_acceptance(event) {
                return not_left_alone(migration);
            }
            if migration.machine.waits_for_target(event) {
                return held(migration);
            }
            EngineError::not_possible(&migration.name, refused)
        })?;
        if matches!(self, Self::Start | Self::Switch) {
            require_preflight(migration, settings, now)?;
        }
        Ok(Admitted::Event(event, reason.to_owned()))
    }
}

/// What is refused says what was seen, and what to do.
fn not_left_alone(migration: &Migration) -> EngineError {
    let (name, source) = (&migration.name, &migration.source);
    let seen = migration.facts.source_watch();
    let seen = seen.map_or_else(String::new, ToString::to_string);
    EngineError::Refused(format!(
        "{source} was not left alone in the bake: {seen}. What was written there is not on {}: look \
         at it, then give it up (migration complete {name} --accept-loss, migration rollback {name} \
         --accept-loss)",
        migration.target
    ))
}

/// Nobody knows yet what the target is.
fn held(migration: &Migration) -> EngineError {
    let Migration { name, target, .. } = migration;
    EngineError::Refused(format!(
        "{target} serves nobody, and new connections are held for it: bring it back, then complete; what else \
         can be done is in migration status {name}"
    ))
}

/// Backward a switch is what the operator wants: under way, and nothing to abort.
fn rollback(state: State, accept_loss: bool) -> (Event, &'static str) {
    let aborts = matches!(
        state,
        State::Promoting { .. }
            | State::Switching {
                direction: Direction::Forward,
                ..
            }
    );
    if aborts {
        (Event::AbortRequested, "an operator aborted the switch")
    } else if accept_loss {
        (
            Event::LossyRollbackRequested,
            "an operator asked for a rollback, accepting loss",
        )
    } else {
        (Event::RollbackRequested, "an operator asked for a rollback")
    }
}

fn choose(choice: ChoiceName) -> (Event, &'static str) {
    let reason = match choice {
        ChoiceName::Retry => "an operator chose to try again",
        ChoiceName::Wait => "an operator chose to wait longer for the promotion",
        ChoiceName::OpenSource => "an operator chose to open the source",
        ChoiceName::OpenTargetUnproven => {
            "an operator chose to go on, asserting that the source is down"
        }
        ChoiceName::OpenSourceUnproven => {
            "an operator chose to open the source, asserting that the target is down"
        }
    };
    (choice.event(), reason)
}

fn require_preflight(
    migration: &Migration,
    settings: &Settings,
    now: UnixMillis,
) -> Result<(), EngineError> {
    let name = &migration.name;
    let Some(passed) = migration.preflight_passed else {
        return Err(EngineError::Refused(format!(
            "migration {name:?} has not passed its preflight; run `pointsman migration preflight \
             {name}` and mend what it blocks on"
        )));
    };
    if now.since(passed) > settings.preflight_age {
        return Err(EngineError::Refused(format!(
            "the preflight of migration {name:?} is older than {:?}; run `pointsman migration \
             preflight {name}` again",
            settings.preflight_age
        )));
    }
    Ok(())
}
