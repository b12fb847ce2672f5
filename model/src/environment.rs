//! What happens around the engine: clients, strangers, crashes, replication, time.

use pointsman_cutover::machine::{Direction, Event, PromotionStage, Side, State, StreamState};

use crate::{
    action::Action,
    bounds::Troubles,
    message::{Api, Route, Statement},
    process::{Coverage, Who},
    reach::end_session,
    server::{Access, Meddling, Power, Slots, Strayed},
    world::World,
};

impl World {
    /// The world after `action`; `None` if it cannot happen.
    pub fn after(self, action: Action) -> Option<Self> {
        let mut next = match action {
            Action::Engine(who, outcome) => self.advance(who, outcome),
            Action::TakesOver => self.taken_over(),
            Action::EngineCrashes(who) => self.engine_crashed(who),
            Action::Asks(event) => self.asked(event),
            Action::AlarmFires { soon } => self.alarmed(soon),
            Action::Watches(Event::SourceFenceBroken) => self.watched_source(),
            Action::Watches(Event::TargetDown) => self.watched_silent_target(),
            Action::Watches(Event::TargetBack) => self.watched_target_answer(),
            Action::Watches(event) => self.sees(event).then_some(self)?.watched(event),
            Action::MovesRoutes(side) => self.moved_by_hand(side),
            Action::ServerCrashes(side) => self.server_crashed(side),
            Action::ServerIsGone(side) => self.server_gone(side),
            Action::ServerComesBack(side) => self.server_back(side),
            Action::OperatorTakesDown(side) => self.taken_down(side),
            Action::OperatorCloses(side) => self.closed_by_operator(side),
            Action::Replays => self.replayed(),
            Action::Delivers => self.delivered(),
            Action::Commits(side) => self.committed(side, false),
            Action::CommitsInGap => self.committed(Side::Target, true),
            Action::StrangerOpens(side) => self.opened_by_stranger(side),
            Action::StrangerWrites(side) => self.written_by_stranger(side),
            Action::StreamIsHurt(slots) => self.stream_hurt(slots),
            Action::Arrives(slot) => self.arrived(slot),
            Action::IsLost(slot) => self.message_lost(slot),
            Action::DeadlinePasses => self.deadline_passed(),
            Action::HoldExpires => self.hold_expired(),
            Action::ApiPromotes => self.promoted_by_api(),
            Action::ApiSaysFailed => self.api_failed(),
        }?;
        next.settle();
        next.judge();
        Some(next)
    }

    fn engine_crashed(mut self, who: Who) -> Option<Self> {
        self.process(who)?;
        self.left.spend(|left| &mut left.engine_crashes)?;
        *self.process_mut(who) = None;
        Some(self)
    }

    /// Whether the watch of the bake would see this.
    fn sees(&self, event: Event) -> bool {
        let Some(leader) = self.leader else {
            return false;
        };
        let State::Baking { stream } = leader.record.machine.state() else {
            return false;
        };
        let reachable = self.target.power == Power::Up;
        let complete = leader.record.facts.stream == Some(Coverage::Complete);
        match (stream, event) {
            (StreamState::Proven, Event::ReverseStreamLapsed) => !self.streams(),
            (StreamState::Proven, Event::ReverseStreamBroke) => {
                reachable && self.target.slots == Slots::Gap
            }
            (StreamState::Broken, Event::ReverseStreamLapsed) => {
                self.streams() && complete && self.target.slots == Slots::Whole
            }
            _ => false,
        }
    }

    fn server_crashed(mut self, side: Side) -> Option<Self> {
        if self.power(side) != Power::Up {
            return None;
        }
        self.left.spend(match side {
            Side::Source => |left| &mut left.source_crashes,
            Side::Target => |left| &mut left.target_crashes,
        })?;
        *self.power_mut(side) = Power::Down;
        self.end_sessions(side);
        for process in [&mut self.leader, &mut self.stale].into_iter().flatten() {
            end_session(process, side);
        }
        self.drop_messages_to(side);
        Some(self)
    }

    fn server_gone(mut self, side: Side) -> Option<Self> {
        if self.power(side) != Power::Down {
            return None;
        }
        self.left.spend(|left| &mut left.servers_gone)?;
        *self.power_mut(side) = Power::Gone;
        Some(self)
    }

    /// An operator takes a server down for good, to make true what they will assert.
    fn taken_down(mut self, side: Side) -> Option<Self> {
        if !self.awaits_an_operator() || self.power(side) == Power::Gone {
            return None;
        }
        *self.power_mut(side) = Power::Up;
        self.left.together = 1;
        self.left.source_crashes = 1;
        self.left.target_crashes = 1;
        let mut down = self.server_crashed(side)?;
        down.left = Troubles::calm();
        *down.power_mut(side) = Power::Gone;
        Some(down)
    }

    /// An operator closes what a stranger opened.
    fn closed_by_operator(mut self, side: Side) -> Option<Self> {
        let by_stranger = match side {
            Side::Source => self.source.opened_by_stranger,
            Side::Target => self.target.opened_by_stranger,
        };
        let open = by_stranger && self.power(side) == Power::Up;
        if !self.awaits_an_operator() || !open {
            return None;
        }
        *self.access_mut(side) = Access::Sessions;
        self.end_sessions(side);
        Some(self)
    }

    /// Whether nothing goes on without an operator, in the calm.
    fn awaits_an_operator(&self) -> bool {
        let calm = self.left == Troubles::calm();
        let stage = PromotionStage::Stalled;
        let state = self.state();
        calm && match state {
            State::NeedsOperator { .. } | State::Baking { .. } => true,
            State::Planned
            | State::SettingUp
            | State::Prepared
            | State::Switching { .. }
            | State::Undoing { .. }
            | State::Undone
            | State::RolledBack
            | State::Completing
            | State::Completed
            | State::Cancelling
            | State::Cancelled
            | State::Abandoned
            | State::Promoting { .. } => state == State::Promoting { stage },
        }
    }

    fn server_back(mut self, side: Side) -> Option<Self> {
        if self.power(side) != Power::Down {
            return None;
        }
        *self.power_mut(side) = Power::Up;
        Some(self)
    }

    /// A standby has at any time what the source had at some time before.
    fn replayed(mut self) -> Option<Self> {
        let up = self.source.power == Power::Up && self.target.power == Power::Up;
        if !up || self.target.is_primary || self.target.is_cut_off {
            return None;
        }
        self.target.access = match self.source.access {
            Access::Open => Access::Open,
            Access::Sessions | Access::Empty => self.target.access.closed(),
        };
        self.target.lacks = false;
        for record in self.records() {
            record.facts.replayed = record.facts.closed;
        }
        for message in self.messages.iter_mut().flatten() {
            if let Statement::Promote { replayed, .. } = &mut message.statement {
                *replayed = true;
            }
        }
        Some(self)
    }

    fn delivered(mut self) -> Option<Self> {
        if !self.streams() || !self.target.undelivered {
            return None;
        }
        self.target.undelivered = false;
        Some(self)
    }

    fn committed(mut self, side: Side, in_gap: bool) -> Option<Self> {
        let accepts = match side {
            Side::Source => self.source.accepts(),
            Side::Target => self.target.accepts(),
        };
        if !accepts || (in_gap && self.target.slots != Slots::Gap) {
            return None;
        }
        self.write_on(side, in_gap);
        Some(self)
    }

    fn write_on(&mut self, side: Side, in_gap: bool) {
        match side {
            Side::Source => {
                self.target.lacks = true;
                self.leave_in_wal_of_source();
            }
            Side::Target => {
                self.target.written = true;
                if self.target.slots == Slots::None || in_gap {
                    self.target.uncarried = true;
                } else {
                    self.target.undelivered = true;
                }
                self.leave_in_wal_of_target();
            }
        }
    }

    fn leave_in_wal_of_source(&mut self) {
        for record in self.records() {
            record.facts.written_behind |= record.facts.closed;
        }
    }

    fn leave_in_wal_of_target(&mut self) {
        for record in self.records() {
            record.facts.target_written_behind |= record.facts.target_closed;
        }
    }

    /// A server that a switch has closed, and has not opened the other one beside; in a bake the
    /// source that was left.
    fn is_fenced(&self, side: Side) -> bool {
        let closed = self.power(side) == Power::Up && self.access(side) != Access::Open;
        match side {
            Side::Source => {
                let open = self.target.is_primary && self.target.access == Access::Open;
                let forward = !open && self.leaves() == Some(Direction::Forward);
                closed && (forward || self.has_left_source())
            }
            Side::Target => {
                let open = self.source.access == Access::Open;
                closed && !open && self.target.is_primary && self.leaves().is_some()
            }
        }
    }

    fn opened_by_stranger(mut self, side: Side) -> Option<Self> {
        if !self.is_fenced(side) {
            return None;
        }
        self.left.spend(|left| &mut left.strangers)?;
        *self.access_mut(side) = Access::Open;
        // The opening is a commit.
        match side {
            Side::Source => {
                self.source.opened_by_stranger = true;
                self.leave_in_wal_of_source();
            }
            Side::Target => {
                self.target.opened_by_stranger = true;
                self.leave_in_wal_of_target();
            }
        }
        self.meddle(side);
        Some(self)
    }

    fn written_by_stranger(mut self, side: Side) -> Option<Self> {
        if !self.is_fenced(side) {
            return None;
        }
        self.left.spend(|left| &mut left.strangers)?;
        self.write_on(side, false);
        self.meddle(side);
        Some(self)
    }

    fn meddle(&mut self, side: Side) {
        let meddling = match side {
            Side::Source => &mut self.source.meddling,
            Side::Target => &mut self.target.meddling,
        };
        if *meddling == Meddling::Never {
            *meddling = Meddling::Lately;
        }
        if side == Side::Source && self.has_left_source() && self.source.strayed == Strayed::Nothing
        {
            self.source.strayed = Strayed::Lately;
        }
    }

    fn stream_hurt(mut self, slots: Slots) -> Option<Self> {
        let bakes = matches!(self.state(), State::Baking { .. });
        if !bakes || self.target.slots != Slots::Whole {
            return None;
        }
        self.left.spend(|left| &mut left.stream_troubles)?;
        self.target.slots = slots;
        Some(self)
    }

    fn arrived(mut self, slot: usize) -> Option<Self> {
        let message = self.messages.get_mut(slot)?.take()?;
        if let Some(side) = message.statement.side()
            && self.power(side) != Power::Up
        {
            return None;
        }
        self.execute(message.statement, message.epoch);
        Some(self)
    }

    fn message_lost(mut self, slot: usize) -> Option<Self> {
        self.messages.get_mut(slot)?.take()?;
        Some(self)
    }

    fn deadline_passed(mut self) -> Option<Self> {
        let mut passed = false;
        let mut pass = |left: &mut u8| {
            passed |= *left > 0;
            *left = left.saturating_sub(1);
        };
        for message in self.messages.iter_mut().flatten() {
            if let Statement::Promote { deadline, .. } = &mut message.statement {
                pass(deadline);
            }
        }
        for record in self.records() {
            if let Some(left) = &mut record.facts.deadline {
                pass(left);
            }
        }
        passed.then_some(self)
    }

    fn hold_expired(mut self) -> Option<Self> {
        if self.route != Route::Hold {
            return None;
        }
        self.route = Route::Refuse;
        Some(self)
    }

    /// The API promotes a standby whenever it likes, and one that it called failed too.
    fn promoted_by_api(mut self) -> Option<Self> {
        let asked = self.api != Api::Idle;
        if !asked || self.target.is_primary || self.target.power != Power::Up {
            return None;
        }
        self.promote();
        // It ends every session.
        self.end_sessions(Side::Target);
        for process in [&mut self.leader, &mut self.stale].into_iter().flatten() {
            end_session(process, Side::Target);
        }
        self.drop_messages_to(Side::Target);
        Some(self)
    }

    fn api_failed(mut self) -> Option<Self> {
        if self.api != Api::UnderWay || self.target.is_primary {
            return None;
        }
        self.left.spend(|left| &mut left.losses)?;
        self.api = Api::Failed;
        Some(self)
    }
}
