//! What a statement does on its server, and what must hold when it is sent.

use pointsman_cutover::machine::{
    Assertion, Direction, Event, LeftSource, PromotionStage, Side, State, Step, supersedes,
};

use crate::{
    message::{Api, Route, Statement},
    process::{Process, Record, Who},
    server::{Access, Meddling, Power, Strayed},
    violation::Violation,
    world::World,
};

impl World {
    /// Whether the server took it.
    pub(crate) fn execute(&mut self, statement: Statement, epoch: u8) -> bool {
        match statement {
            Statement::Close(side) => self.close(side, epoch),
            Statement::Open(side) => {
                self.open(side);
                true
            }
            Statement::Promote { replayed, deadline } => self.promote_guarded(replayed, deadline),
            Statement::AskApi => {
                if self.api == Api::Idle {
                    self.api = Api::UnderWay;
                }
                true
            }
        }
    }

    fn close(&mut self, side: Side, epoch: u8) -> bool {
        let record = match side {
            Side::Source => &mut self.source.record,
            Side::Target => &mut self.target.record,
        };
        if record.is_some_and(|found| supersedes(u64::from(found), u64::from(epoch))) {
            return false;
        }
        *record = Some(epoch);
        let access = self.access_mut(side);
        *access = access.closed();
        true
    }

    fn open(&mut self, side: Side) {
        match side {
            Side::Source => {
                self.source.record = None;
                self.source.meddling = Meddling::Never;
            }
            Side::Target => {
                self.target.record = None;
                self.target.meddling = Meddling::Never;
            }
        }
        self.forget_strangers(side);
        *self.access_mut(side) = Access::Open;
    }

    /// Ends the sessions. Where new ones come in, that ends nothing.
    pub(crate) fn end_sessions(&mut self, side: Side) {
        let access = self.access_mut(side);
        *access = access.emptied();
        if *access == Access::Empty {
            self.forget_strangers(side);
        }
    }

    fn forget_strangers(&mut self, side: Side) {
        match side {
            Side::Source => self.source.opened_by_stranger = false,
            Side::Target => self.target.opened_by_stranger = false,
        }
    }

    /// The target refuses what comes late, early, or while it would come up open.
    fn promote_guarded(&mut self, replayed: bool, deadline: u8) -> bool {
        let target = &self.target;
        let guard = replayed && deadline > 0 && target.access != Access::Open;
        if !target.is_primary && guard {
            self.promote();
        }
        self.target.is_primary
    }

    pub(crate) fn promote(&mut self) {
        self.target.is_primary = true;
        if self.has_opened_source() && !self.word_taken {
            self.violations.add(Violation::PromotedUnproven);
        }
    }

    /// Whether the command under way began behind what a stranger did. That of a process which was taken
    /// over from began before the one that this is counted from.
    fn could_be_seen(&self, who: Who, meddling: Meddling) -> bool {
        who == Who::Leader && meddling == Meddling::Before
    }

    /// Whether the source is open, and no stranger opened it.
    fn has_opened_source(&self) -> bool {
        let source = &self.source;
        let is_there = source.power != Power::Gone;
        is_there && source.access == Access::Open && !source.opened_by_stranger
    }

    /// A server is opened, or one that was found open is shut. A process that was taken over from may have begun that before an operator
    /// and the leader went on to something else.
    pub(crate) fn judge_change(&mut self, who: Who) {
        let command = |process: Process| process.record.machine.command();
        let owed = self.process(who).and_then(command);
        if who == Who::Stale && self.journal.machine.command() != owed {
            self.violations.add(Violation::StaleActed);
        }
    }

    /// A promotion is asked for.
    pub(crate) fn judge_promotion(&mut self, who: Who) {
        let by_word = self.process(who).is_some_and(|process| process.by_word);
        // An operator asserted it, and was right.
        let gone = self.source.power == Power::Gone && self.said == Some(Assertion::SourceDown);
        let nothing_to_promote = self.target.is_primary || self.target.power == Power::Gone;
        if by_word || self.word_taken || gone || nothing_to_promote {
            return;
        }
        if self.could_be_seen(who, self.source.meddling) || self.has_opened_source() {
            self.violations.add(Violation::PromotedUnproven);
        }
    }

    /// The command begins that opens the target: what strangers did before is there to be seen.
    /// That of a process which was taken over from began before.
    pub(crate) fn begin_to_open(&mut self, who: Who, side: Side) {
        if who == Who::Stale {
            return;
        }
        match side {
            Side::Target => {
                self.source.meddling = self.source.meddling.at_the_beginning();
            }
            Side::Source => {
                self.target.meddling = self.target.meddling.at_the_beginning();
            }
        }
    }

    /// The opening of the target is sent by a switch.
    pub(crate) fn judge_opening_of_target(&mut self, who: Who) {
        let by_word = self.process(who).is_some_and(|process| process.by_word);
        let meddling = self.source.meddling;
        let unseen = meddling != Meddling::Never && !self.could_be_seen(who, meddling);
        if by_word || self.word_taken || unseen {
            return;
        }
        let fenced = self.source.access == Access::Empty;
        if meddling == Meddling::Before || !fenced {
            self.violations.add(Violation::TargetOpenedUnproven);
        } else if self.target.lacks {
            self.violations.add(Violation::Lost);
        }
    }

    /// The opening of the source is sent by an undo behind the intent to promote.
    pub(crate) fn judge_opening_by_undo(&mut self, who: Who) {
        let by_word = self.process(who).is_some_and(|process| process.by_word);
        let gone = self.target.power == Power::Gone;
        // What was asserted to a process that was taken over from holds for it.
        let process = self.process(who).filter(|_| who == Who::Stale);
        let told = process.is_some_and(|process| process.holds(Assertion::TargetDown));
        let unseen = self.target.meddling == Meddling::Lately;
        if by_word || told || self.word_taken || gone || unseen {
            return;
        }
        let target = &self.target;
        let cut_off = !target.is_primary && target.is_cut_off;
        if !target.is_closed_and_unwritten() && !cut_off {
            self.violations.add(Violation::SourceOpenedUnproven);
        }
    }

    /// The opening of the source is sent by a rollback.
    pub(crate) fn judge_opening_by_rollback(&mut self, who: Who) {
        if self.process(who).is_some_and(|process| process.by_word) {
            return;
        }
        let meddling = self.target.meddling;
        if meddling != Meddling::Never {
            if self.could_be_seen(who, meddling) {
                self.violations.add(Violation::RollbackUnlooked);
            }
            return;
        }
        if self.word_taken {
            return;
        }
        if self.target.access != Access::Empty {
            self.violations.add(Violation::SourceOpenedUnproven);
        }
        // What was accepted when a process began that was taken over from stays accepted for it.
        let process = self.process(who).filter(|_| who == Who::Stale);
        let accepted = self.said == Some(Assertion::LossAccepted)
            || process.is_some_and(|process| process.holds(Assertion::LossAccepted));
        if self.target.is_ahead() && !accepted {
            self.violations.add(Violation::Lost);
        }
    }

    /// The closing of a source that was left is sent.
    pub(crate) fn judge_closing_of_source(&mut self) {
        if self.route == Route::Source && self.has_left_source() {
            self.violations.add(Violation::ServedClosed);
        }
    }

    /// A command begins that looks at the source before it does anything.
    pub(crate) fn begin_to_look(&mut self, who: Who) {
        if who == Who::Stale {
            return;
        }
        self.source.strayed = self.source.strayed.at_the_beginning();
    }

    /// A rollback holds writers.
    pub(crate) fn judge_hold_of_rollback(&mut self) {
        let given_up = self.said == Some(Assertion::LossAccepted) || self.is_given_up_unseen();
        if self.source.strayed == Strayed::Before && !given_up {
            self.violations.add(Violation::GivenUpUnasked);
        }
    }

    /// Whether an operator gave up what was or may have been done on a source that nobody can look at
    /// before it is shut again.
    fn is_given_up_unseen(&self) -> bool {
        let accepted = |record: Record| {
            record.facts.admits && record.machine.left_source() == LeftSource::Accepted
        };
        self.leader.is_some_and(|leader| accepted(leader.record))
    }

    /// The leader's machine takes an event.
    pub(crate) fn judge_event(&mut self, former: State, event: Event, state: State) {
        let proved = State::Switching {
            direction: Direction::Forward,
            step: Step::Prove,
        };
        let proves = event == Event::DoneManaged && former == proved;
        let stage = PromotionStage::Requesting;
        let asks = state == State::Promoting { stage };
        if asks && !proves && event != Event::NotReceived {
            self.violations.add(Violation::AskedTwice);
        }
        let gone = self.said == Some(Assertion::SourceDown);
        let strayed = self.source.strayed;
        let given_up = gone || self.is_given_up_unseen();
        if state == State::Completed && strayed == Strayed::Before && !given_up {
            self.violations.add(Violation::GivenUpUnasked);
        }
        if event == Event::SourceFenceBroken {
            self.begin_to_look(Who::Leader);
        }
        if event == Event::SourceWritesAccepted {
            // What is seen afterwards is not accepted.
            let leader = self.leader;
            let unseen = leader.is_some_and(|leader| leader.record.facts.written_behind);
            self.source.strayed = if unseen && strayed != Strayed::Nothing {
                Strayed::Lately
            } else {
                Strayed::Nothing
            };
        }
    }
}
