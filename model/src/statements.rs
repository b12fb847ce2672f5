//! What a statement does on its server, and what must hold when it is sent.

use pointsman_cutover::machine::{Assertion, Side};

use crate::{
    message::{Api, Statement},
    process::Who,
    server::{Access, Meddling, Power},
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
        if record.is_some_and(|found| found > epoch) {
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
        let opened_by_us = self.source.access == Access::Open && !self.source.opened_by_stranger;
        if opened_by_us && !self.word_taken {
            self.violations.add(Violation::PromotedUnproven);
        }
    }

    /// A promotion is asked for.
    pub(crate) fn judge_promotion(&mut self, who: Who) {
        let by_word = self.process(who).is_some_and(|process| process.by_word);
        if by_word || self.word_taken {
            return;
        }
        let opened_by_us = self.source.access == Access::Open && !self.source.opened_by_stranger;
        if self.source.meddling == Meddling::Before || opened_by_us {
            self.violations.add(Violation::PromotedUnproven);
        }
    }

    /// The command begins that opens the target: what strangers did before is there to be seen.
    pub(crate) fn begin_to_open(&mut self, side: Side) {
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
        if by_word || self.word_taken || self.source.meddling == Meddling::Lately {
            return;
        }
        let fenced = self.source.access == Access::Empty;
        if self.source.meddling == Meddling::Before || !fenced {
            self.violations.add(Violation::TargetOpenedUnproven);
        } else if self.target.lacks {
            self.violations.add(Violation::Lost);
        }
    }

    /// The opening of the source is sent by an undo behind the intent to promote.
    pub(crate) fn judge_opening_by_undo(&mut self, who: Who) {
        let by_word = self.process(who).is_some_and(|process| process.by_word);
        let gone = self.target.power == Power::Gone;
        if by_word || self.word_taken || gone || self.target.meddling == Meddling::Lately {
            return;
        }
        let target = &self.target;
        let cut_off = !target.is_primary && target.is_cut_off;
        if !target.is_closed_and_unwritten() && !cut_off {
            self.violations.add(Violation::SourceOpenedUnproven);
        }
    }

    /// The opening of the source is sent by a rollback.
    pub(crate) fn judge_opening_by_rollback(&mut self) {
        match self.target.meddling {
            Meddling::Lately => return,
            Meddling::Before => {
                self.violations.add(Violation::RollbackUnlooked);
                return;
            }
            Meddling::Never => {}
        }
        if self.word_taken {
            return;
        }
        if self.target.access != Access::Empty {
            self.violations.add(Violation::SourceOpenedUnproven);
        }
        if self.target.is_ahead() && self.said != Some(Assertion::LossAccepted) {
            self.violations.add(Violation::Lost);
        }
    }
}
