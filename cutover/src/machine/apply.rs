use pointsman_catalog::UnixMillis;

use super::{
    change::Change,
    command::Command,
    data::{Machine, ReaderRoutes},
    effect::{Durability, Effect, Remark},
    event::Event,
    left_source::LeftSource,
    state::State,
    table::NotPossible,
};

/// Where an event leads, and what the driver does about it, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Transition {
    pub machine: Machine,
    pub effects: Vec<Effect>,
}

impl Machine {
    /// The machine after `event`, which happened `at` this time.
    ///
    /// # Errors
    /// [`NotPossible`] when the event cannot happen now; nothing has changed then.
    pub fn apply(self, event: Event, at: UnixMillis) -> Result<Transition, NotPossible> {
        if self.command() == Some(Command::RestoreReaders)
            && let Some(transition) = self.restoring_readers(event)
        {
            return Ok(transition);
        }
        if self.asks_for_acceptance(event) || self.waits_for_target(event) {
            let state = self.state;
            return Err(NotPossible { state, event });
        }
        if event == Event::AlarmFired && self.is_disturbed() {
            let why = Remark::AlarmSourceDisturbed;
            return Ok(self.stays(vec![Effect::Remark(why)]));
        }
        if event == Event::AlarmFired && self.alarms_wait(at) {
            return Ok(self.stays(vec![Effect::Remark(Remark::AlarmTooEarly)]));
        }
        let state = self.state.apply(event)?;
        if state == self.state
            && let Some(effects) = self.unchanged(event)
        {
            return Ok(self.stays(effects));
        }
        let change = Change {
            before: self,
            state,
            event,
            at,
        };
        Ok(Transition {
            machine: change.machine(),
            effects: change.effects(),
        })
    }

    fn stays(self, effects: Vec<Effect>) -> Transition {
        Transition {
            machine: self,
            effects,
        }
    }

    /// Whether the target bakes beside a source on which somebody did something.
    fn is_disturbed(self) -> bool {
        let bakes = matches!(self.state, State::Baking { .. });
        bakes && self.left_source != LeftSource::Quiet
    }

    /// Whether `event` is refused because what others did on the source is given up by an
    /// operator's word alone.
    pub fn asks_for_acceptance(self, event: Event) -> bool {
        let completes = matches!(
            event,
            Event::CompleteRequested | Event::CompleteWithoutSourceRequested
        );
        let accepted = self.left_source == LeftSource::Accepted;
        let asks = event == Event::RollbackRequested || (completes && !accepted);
        asks && self.is_disturbed()
    }

    /// Whether `event` is refused because writers are held for a target that is down: nothing ends the
    /// migration without the target, and a hold is given back by the bake.
    pub fn waits_for_target(self, event: Event) -> bool {
        let completes = matches!(
            event,
            Event::CompleteRequested | Event::CompleteWithoutSourceRequested
        );
        completes && self.held_since.is_some()
    }

    /// Whether an alarm that fires `at` this time finds the last rollback undone too recently.
    fn alarms_wait(self, at: UnixMillis) -> bool {
        let listened_to = match self.state {
            State::Baking { stream } => !stream.rollback_waits(),
            State::Planned
            | State::SettingUp
            | State::Prepared
            | State::Switching { .. }
            | State::Promoting { .. }
            | State::Undoing { .. }
            | State::Undone
            | State::RolledBack
            | State::Completing
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Abandoned
            | State::NeedsOperator { .. } => false,
        };
        listened_to && self.alarm_backoff.is_some_and(|backoff| backoff.covers(at))
    }

    /// What is done about an event that changes nothing and gets no entry as a change; `None`
    /// for one that does.
    fn unchanged(self, event: Event) -> Option<Vec<Effect>> {
        match event {
            Event::Failed | Event::Unanswered => match self.state.command()? {
                Command::Arm => Some(vec![
                    Effect::ForgetSessions,
                    Effect::Remark(Remark::NotArmed),
                ]),
                Command::Step(..) | Command::Undo(..) => {
                    Some(vec![Effect::ForgetSessions, Effect::TryAgain])
                }
                Command::AwaitPromotion => Some(vec![
                    Effect::ForgetSessions,
                    Effect::Remark(Remark::PromotionObserved),
                ]),
                Command::SetUp
                | Command::RequestPromotion
                | Command::Watch
                | Command::Complete
                | Command::Cancel
                | Command::RestoreReaders => None,
            },
            Event::NotYet | Event::NotReceived => {
                Some(vec![Effect::Remark(Remark::PromotionObserved)])
            }
            Event::FailedTargetUnwritten | Event::Unprovable | Event::ReverseStreamBroke => {
                let awaits = self.state.command() == Some(Command::AwaitPromotion);
                awaits.then(|| {
                    vec![
                        Effect::ForgetSessions,
                        Effect::Remark(Remark::PromotionObserved),
                    ]
                })
            }
            Event::AlarmFired => Some(vec![Effect::Remark(Remark::AlarmWouldLose)]),
            // A crash may have come between the last entry and the lease's release.
            Event::Restarted if self.state.is_over() => Some(vec![Effect::ReleaseLease]),
            Event::Restarted
            | Event::StartRequested
            | Event::SwitchRequested
            | Event::AbortRequested
            | Event::RollbackRequested
            | Event::LossyRollbackRequested
            | Event::RollbackWithdrawn
            | Event::SourceWritesAccepted
            | Event::CompleteRequested
            | Event::CompleteWithoutSourceRequested
            | Event::CancelRequested
            | Event::RetryChosen
            | Event::RetryWithoutSourceChosen
            | Event::OpenSourceChosen
            | Event::OpenSourceWithoutTargetChosen
            | Event::WaitChosen
            | Event::AbandonRequested
            | Event::Done
            | Event::DoneReadersMoved
            | Event::DoneManaged
            | Event::TargetGone
            | Event::SourceOpened
            | Event::MovedByHand
            | Event::ReverseStreamLapsed
            | Event::SlotsGivenUp
            | Event::SourceFenceBroken
            | Event::TargetDown
            | Event::TargetBack => None,
        }
    }

    /// What came of the readers' restoration, which changes no state; `None` for an event that
    /// is about something else.
    fn restoring_readers(self, event: Event) -> Option<Transition> {
        match event {
            Event::Done => Some(Transition {
                machine: Self {
                    readers: ReaderRoutes::Settled,
                    ..self
                },
                effects: vec![Effect::Journal {
                    durability: Durability::Now,
                    intent: None,
                }],
            }),
            Event::NotYet => Some(self.stays(vec![Effect::TryAgain])),
            // A restarted server has none of the former sessions.
            Event::Failed | Event::Unanswered => {
                Some(self.stays(vec![Effect::ForgetSessions, Effect::TryAgain]))
            }
            Event::StartRequested
            | Event::SwitchRequested
            | Event::AbortRequested
            | Event::RollbackRequested
            | Event::LossyRollbackRequested
            | Event::RollbackWithdrawn
            | Event::CompleteRequested
            | Event::CompleteWithoutSourceRequested
            | Event::CancelRequested
            | Event::RetryChosen
            | Event::RetryWithoutSourceChosen
            | Event::OpenSourceChosen
            | Event::OpenSourceWithoutTargetChosen
            | Event::WaitChosen
            | Event::AbandonRequested
            | Event::DoneReadersMoved
            | Event::DoneManaged
            | Event::NotReceived
            | Event::TargetGone
            | Event::SourceOpened
            | Event::MovedByHand
            | Event::FailedTargetUnwritten
            | Event::Unprovable
            | Event::ReverseStreamBroke
            | Event::AlarmFired
            | Event::ReverseStreamLapsed
            | Event::SlotsGivenUp
            | Event::SourceWritesAccepted
            | Event::SourceFenceBroken
            | Event::TargetDown
            | Event::TargetBack
            | Event::Restarted => None,
        }
    }
}
