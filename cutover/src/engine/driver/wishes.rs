//! What becomes of an operator's wish, by state.

use super::{Driver, Request, Wish};
use crate::{
    engine::{
        EngineError,
        status::{OPEN_SOURCE, OPEN_SOURCE_UNPROVEN, OPEN_TARGET_UNPROVEN, RETRY},
    },
    journal::JournalError,
    machine::{Direction, Event, State},
};

impl Driver {
    /// Takes the wishes that are waiting, between two steps.
    pub(super) async fn hear_wishes(&mut self) -> Result<(), JournalError> {
        while let Ok(request) = self.requests.try_recv() {
            self.consider(request).await?;
        }
        Ok(())
    }

    /// Turns a wish into an event, or says why not. The answer goes out once the change is
    /// durable.
    pub(super) async fn consider(&mut self, request: Request) -> Result<(), JournalError> {
        let Request { wish, reply } = request;
        let answer = match self.admit(&wish) {
            Err(refusal) => Err(refusal),
            Ok((event, words)) => {
                match event {
                    Some(event) => self.change(event, words.to_owned()).await?,
                    None => {
                        let words = words.to_owned();
                        self.note("preflight", words, serde_json::json!({})).await?;
                    }
                }
                Ok(())
            }
        };
        // The caller may have gone; the change stands.
        let _ = reply.send(answer);
        Ok(())
    }

    fn admit(&mut self, wish: &Wish) -> Result<(Option<Event>, &'static str), EngineError> {
        let (event, words) = match wish {
            Wish::PreflightPassed(at) => {
                self.migration.preflight_passed = Some(*at);
                return Ok((None, "no check blocks"));
            }
            Wish::Start => {
                self.legal(Event::StartRequested)?;
                self.require_preflight()?;
                (Event::StartRequested, "start was asked for")
            }
            Wish::Switch => {
                self.legal(Event::SwitchRequested)?;
                self.require_preflight()?;
                (Event::SwitchRequested, "a switch was asked for")
            }
            Wish::Rollback { accept_loss } => self.admit_rollback(*accept_loss)?,
            Wish::Complete { source_is_gone } => self.admit_completion(*source_is_gone)?,
            Wish::Cancel => (Event::CancelRequested, "cancelling was asked for"),
            Wish::Resolve(choice) => self.admit_choice(choice)?,
        };
        self.legal(event)?;
        Ok((Some(event), words))
    }

    fn legal(&self, event: Event) -> Result<(), EngineError> {
        self.migration
            .state
            .apply(event)
            .map(|_| ())
            .map_err(|illegal| EngineError::illegal(&self.migration.name, illegal))
    }

    fn require_preflight(&self) -> Result<(), EngineError> {
        let name = &self.migration.name;
        let Some(passed) = self.migration.preflight_passed else {
            return Err(EngineError::Refused(format!(
                "migration {name:?} has not passed its preflight; run `pointsman migration \
                 preflight {name}` and mend what it blocks on"
            )));
        };
        if self.ports.clock.now().since(passed) > self.settings.preflight_age {
            return Err(EngineError::Refused(format!(
                "the preflight of migration {name:?} is older than {:?}; run `pointsman migration \
                 preflight {name}` again",
                self.settings.preflight_age
            )));
        }
        Ok(())
    }

    fn admit_rollback(&mut self, accept_loss: bool) -> Result<(Event, &'static str), EngineError> {
        // Backward a switch is what the operator wants: under way, and nothing to abort.
        let aborts = matches!(
            self.migration.state,
            State::Switching {
                direction: Direction::Forward,
                ..
            }
        );
        let (event, words) = if aborts {
            (Event::AbortRequested, "an operator aborted the switch")
        } else if accept_loss {
            (
                Event::LossyRollbackRequested,
                "an operator asked for a rollback, accepting loss",
            )
        } else {
            (Event::RollbackRequested, "an operator asked for a rollback")
        };
        self.legal(event)?;
        self.migration.facts.accept_loss = accept_loss;
        self.migration.cause = Some(words.to_owned());
        Ok((event, words))
    }

    fn admit_completion(
        &mut self,
        source_is_gone: bool,
    ) -> Result<(Event, &'static str), EngineError> {
        self.legal(Event::CompleteRequested)?;
        self.migration.facts.source_asserted_down = source_is_gone;
        let words = if source_is_gone {
            "completion was asked for, asserting that the source is down for good"
        } else {
            "completion was asked for"
        };
        Ok((Event::CompleteRequested, words))
    }

    fn admit_choice(&mut self, choice: &str) -> Result<(Event, &'static str), EngineError> {
        match choice {
            RETRY => Ok((Event::RetryChosen, "an operator chose to try again")),
            OPEN_SOURCE => Ok((
                Event::OpenSourceChosen,
                "an operator chose to open the source",
            )),
            OPEN_TARGET_UNPROVEN => {
                self.legal(Event::RetryChosen)?;
                self.migration.facts.source_asserted_down = true;
                Ok((
                    Event::RetryChosen,
                    "an operator chose to go on, asserting that the source is down",
                ))
            }
            OPEN_SOURCE_UNPROVEN => {
                self.legal(Event::OpenSourceChosen)?;
                self.migration.facts.target_asserted_down = true;
                Ok((
                    Event::OpenSourceChosen,
                    "an operator chose to open the source, asserting that the target is down",
                ))
            }
            other => Err(EngineError::Invalid(format!(
                "{other:?} is no choice; allowed: {RETRY}, {OPEN_SOURCE}, \
                 {OPEN_SOURCE_UNPROVEN}, {OPEN_TARGET_UNPROVEN}"
            ))),
        }
    }
}
