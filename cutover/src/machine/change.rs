use pointsman_catalog::UnixMillis;

use super::{
    alarms::AlarmBackoff,
    assertion::Assertion,
    data::{FenceProof, Machine, ReaderRoutes},
    direction::Direction,
    effect::{Durability, Effect},
    event::Event,
    left_source::LeftSource,
    state::{PromotionStage, State},
    step::Step,
};

/// `event`, which happened `at` this time, leads from `before` to `state`: what else changes
/// with that, and what the driver does about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) before: Machine,
    pub(super) state: State,
    pub(super) event: Event,
    pub(super) at: UnixMillis,
}

impl Change {
    /// The machine afterwards.
    pub(super) fn machine(self) -> Machine {
        Machine {
            state: self.state,
            epoch: self.before.epoch + u64::from(self.takes_a_new_epoch()),
            switches: self.before.switches + u32::from(self.begins().is_some()),
            assertion: self.assertion(),
            alarm_backoff: self.alarm_backoff(),
            readers: self.readers(),
            fence_proof: self.fence_proof(),
            promotion_awaited_since: self.promotion_awaited_since(),
            left_source: self.left_source(),
            held_since: self.held_since(),
        }
    }

    /// What the driver does, in this order.
    pub(super) fn effects(self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(direction) = self.begins() {
            effects.push(Effect::BeginSwitch(direction));
        }
        if self.takes_a_new_epoch() || self.loses_its_sessions() {
            effects.push(Effect::ForgetSessions);
        }
        if self.gives_a_cause() {
            effects.push(Effect::RememberCause);
        }
        if self.goes_on_after_a_stall() || self.completes() {
            effects.push(Effect::ForgetCause);
        }
        effects.push(Effect::Journal {
            durability: self.durability(),
            intent: self.machine().command().filter(|_| self.moves()),
        });
        if self.event == Event::ReverseStreamBroke && self.was_baking() {
            effects.push(Effect::CountRisk);
        }
        if self.event == Event::TargetDown {
            effects.push(Effect::HoldWriters);
        }
        if self.state.is_over() && !self.before.state.is_over() {
            effects.push(Effect::ReleaseLease);
        }
        effects
    }

    /// From the intent, or from an operator's choice to wait longer.
    fn promotion_awaited_since(self) -> Option<UnixMillis> {
        let promotes = |state| matches!(state, State::Promoting { .. });
        if !promotes(self.state) {
            return None;
        }
        if promotes(self.before.state) && self.event != Event::WaitChosen {
            return self.before.promotion_awaited_since;
        }
        Some(self.at)
    }

    /// It holds until the next switch forward.
    fn left_source(self) -> LeftSource {
        if self.event == Event::SourceFenceBroken {
            LeftSource::Disturbed
        } else if self.event == Event::SourceWritesAccepted {
            LeftSource::Accepted
        } else if self.begins() == Some(Direction::Forward) {
            LeftSource::Quiet
        } else {
            self.before.left_source
        }
    }

    /// One outage has one hold, whatever is asked for meanwhile. A rollback that succeeds, and an end,
    /// leave nobody to be held for the target.
    fn held_since(self) -> Option<UnixMillis> {
        if self.event == Event::TargetDown {
            return self.before.held_since.or(Some(self.at));
        }
        let ends = self.event == Event::TargetBack || self.state.is_over();
        self.before.held_since.filter(|_| !ends)
    }

    fn moves(self) -> bool {
        self.state != self.before.state
    }

    /// Whether an undo begins.
    fn turns_back(self) -> bool {
        matches!(self.state, State::Undoing { .. }) && self.moves()
    }

    fn was_baking(self) -> bool {
        matches!(self.before.state, State::Baking { .. })
    }

    /// The direction of the switch that begins.
    fn begins(self) -> Option<Direction> {
        let was_beginning = self.before.state.begins().is_some();
        self.state.begins().filter(|_| !was_beginning)
    }

    /// A crash, an abort, a switch and an operator's decision each take a new epoch. A
    /// migration that is over is driven by nobody.
    fn takes_a_new_epoch(self) -> bool {
        let turns_back = self.turns_back();
        let decided = matches!(self.before.state, State::NeedsOperator { .. })
            && self.moves()
            && !self.state.is_over();
        let waits_longer = self.event == Event::WaitChosen;
        let new_leader = self.event == Event::Restarted && !self.state.is_over();
        self.begins().is_some() || turns_back || decided || waits_longer || new_leader
    }

    /// It holds until the attempt that it was made for has ended: in a bake, or with an
    /// operator.
    fn assertion(self) -> Option<Assertion> {
        match self.event {
            Event::LossyRollbackRequested => Some(Assertion::LossAccepted),
            Event::CompleteWithoutSourceRequested | Event::RetryWithoutSourceChosen => {
                Some(Assertion::SourceDown)
            }
            Event::OpenSourceWithoutTargetChosen => Some(Assertion::TargetDown),
            Event::SwitchRequested
            | Event::RollbackRequested
            | Event::AlarmFired
            | Event::CompleteRequested
            | Event::RetryChosen
            | Event::OpenSourceChosen
            | Event::WaitChosen => None,
            Event::StartRequested
            | Event::AbortRequested
            | Event::RollbackWithdrawn
            | Event::SourceWritesAccepted
            | Event::CancelRequested
            | Event::Done
            | Event::DoneReadersMoved
            | Event::DoneManaged
            | Event::NotYet
            | Event::NotReceived
            | Event::TargetGone
            | Event::SourceOpened
            | Event::MovedByHand
            | Event::Failed
            | Event::Unanswered
            | Event::FailedTargetUnwritten
            | Event::Unprovable
            | Event::ReverseStreamBroke
            | Event::ReverseStreamLapsed
            | Event::SlotsGivenUp
            | Event::SourceFenceBroken
            | Event::TargetDown
            | Event::TargetBack
            | Event::AbandonRequested
            | Event::Restarted => {
                let waits = matches!(
                    self.state,
                    State::Baking { .. }
                        | State::NeedsOperator { .. }
                        | State::Promoting {
                            stage: PromotionStage::Stalled
                        }
                );
                self.before.assertion.filter(|_| !(waits && self.moves()))
            }
        }
    }

    /// A rollback that was undone makes alarms wait; a new forward switch forgets that.
    fn alarm_backoff(self) -> Option<AlarmBackoff> {
        let was_undoing = matches!(self.before.state, State::Undoing { .. });
        let rolled_back = was_undoing && !self.refutes_the_word();
        if rolled_back && matches!(self.state, State::Baking { .. }) {
            return Some(AlarmBackoff::after(self.before.alarm_backoff, self.at));
        }
        match self.begins() {
            Some(Direction::Forward) => None,
            Some(Direction::Reverse) | None => self.before.alarm_backoff,
        }
    }

    /// An operator asserted that the target is down, and it answers.
    fn refutes_the_word(self) -> bool {
        let asserted = self.before.holds(Assertion::TargetDown);
        asserted && matches!(self.state, State::Baking { .. }) && !self.was_baking()
    }

    /// Readers that were moved stay so until a switch is past its hold, or an undo behind one
    /// has served them anew.
    fn readers(self) -> ReaderRoutes {
        let past_the_hold = State::Switching {
            direction: Direction::Forward,
            step: Step::Fence,
        };
        if self.state == past_the_hold {
            return ReaderRoutes::Settled;
        }
        match self.before.state {
            State::Undoing {
                direction: Direction::Forward,
                step,
            } if self.moves() && step > Step::Prepare => {
                // A promoted target is no reader of the source any more.
                if self.event == Event::DoneReadersMoved && self.state == State::Undone {
                    ReaderRoutes::Moved
                } else {
                    ReaderRoutes::Settled
                }
            }
            State::Undoing { .. }
            | State::Planned
            | State::SettingUp
            | State::Prepared
            | State::Switching { .. }
            | State::Promoting { .. }
            | State::Undone
            | State::Baking { .. }
            | State::RolledBack
            | State::Completing
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Abandoned
            | State::NeedsOperator { .. } => self.before.readers,
        }
    }

    /// The steps `Prove` and `Promote` prove the fence, unless an operator asserted that the
    /// source is down: then nobody was asked. A new epoch has proved nothing, behind a managed
    /// promotion the proof is minutes old, and the opening of the target wants one of its own:
    /// somebody may have lifted the fence since.
    fn fence_proof(self) -> FenceProof {
        let promoting = matches!(self.state, State::Promoting { .. });
        let opens = self.state == OPENING;
        if self.takes_a_new_epoch() || promoting || opens {
            return FenceProof::Owed;
        }
        let proves = matches!(
            self.before.state,
            State::Switching {
                direction: Direction::Forward,
                step: Step::Prove | Step::Promote,
            }
        );
        if proves && self.event == Event::Done && !self.before.holds(Assertion::SourceDown) {
            FenceProof::Given
        } else {
            self.before.fence_proof
        }
    }

    /// After a failed command nobody knows what became of its sessions. The bake goes on with
    /// the ones it has.
    fn loses_its_sessions(self) -> bool {
        let asked_for_a_promotion = self.was_requesting() && self.moves();
        (self.failed() && !self.was_baking()) || asked_for_a_promotion
    }

    /// A promotion that was asked for ends every session on its server.
    fn was_requesting(self) -> bool {
        let stage = PromotionStage::Requesting;
        self.before.state == State::Promoting { stage }
    }

    /// A managed promotion that had stalled came through, or has more time now.
    fn goes_on_after_a_stall(self) -> bool {
        let stage = PromotionStage::Stalled;
        let stalled = self.before.state == State::Promoting { stage };
        let ends = matches!(self.state, State::Undoing { .. }) || self.state.is_over();
        stalled && self.moves() && !ends
    }

    /// What an earlier attempt failed for is mended.
    fn completes(self) -> bool {
        self.moves() && matches!(self.state, State::Completed | State::Cancelled)
    }

    /// Whether the event's reason says why the migration will stand where it does.
    fn gives_a_cause(self) -> bool {
        let asked_or_fired = matches!(
            self.event,
            Event::AbortRequested
                | Event::RollbackRequested
                | Event::LossyRollbackRequested
                | Event::RollbackWithdrawn
                | Event::AlarmFired
                | Event::SourceFenceBroken
                | Event::SlotsGivenUp
                | Event::TargetGone
                | Event::SourceOpened
                | Event::MovedByHand
                | Event::AbandonRequested
        );
        let ended_by_restart = self.event == Event::Restarted && self.turns_back();
        let may_have_been_sent = self.was_requesting() && self.event == Event::Unanswered;
        asked_or_fired
            || ended_by_restart
            || self.refutes_the_word()
            || (self.failed() && !self.was_baking() && !may_have_been_sent)
    }

    fn failed(self) -> bool {
        matches!(
            self.event,
            Event::Failed
                | Event::Unanswered
                | Event::FailedTargetUnwritten
                | Event::Unprovable
                | Event::ReverseStreamBroke
        )
    }

    /// Recovery does not depend on the intent of every step.
    fn durability(self) -> Durability {
        let deferrable = matches!(
            self.state,
            State::Switching { direction, step } if !step.intent_is_durable(direction)
        );
        let in_a_switch = matches!(self.before.state, State::Switching { .. });
        if self.event == Event::Done && in_a_switch && deferrable {
            Durability::WithTheNext
        } else {
            Durability::Now
        }
    }
}

/// The target is about to be opened.
const OPENING: State = State::Switching {
    direction: Direction::Forward,
    step: Step::Flip,
};
