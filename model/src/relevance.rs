//! What decides something in a state, and what does no more.

use pointsman_cutover::machine::{Direction, State, Step};

use crate::{process::Facts, world::World};

impl World {
    /// Whether every record is past the opening of the target: no fence of the source is proved any
    /// more.
    pub(crate) fn is_past_the_switch(&self) -> bool {
        let processes = [&self.leader, &self.stale].into_iter().flatten();
        let records = processes.map(|process| &process.record);
        let mut records = records.chain([&self.journal]);
        records.all(|record| is_past_the_switch(record.machine.state()))
    }

    /// Whether the leader may hold before a switch begins anew.
    pub(crate) fn holds_next(&self) -> bool {
        let leader = self.leader.map(|leader| leader.record.machine.state());
        matches!(
            leader,
            Some(State::Switching {
                step: Step::Hold,
                ..
            })
        )
    }
}

fn is_past_the_switch(state: State) -> bool {
    match state {
        State::Baking { .. }
        | State::Completing
        | State::Completed
        | State::RolledBack
        | State::Cancelled
        | State::Abandoned => true,
        State::Switching { direction, .. }
        | State::Undoing { direction, .. }
        | State::NeedsOperator { direction, .. } => direction == Direction::Reverse,
        State::Planned
        | State::SettingUp
        | State::Prepared
        | State::Promoting { .. }
        | State::Undone
        | State::Cancelling => false,
    }
}

impl Facts {
    /// Those on which anything hangs from this state on.
    pub(crate) fn that_count_in(self, state: State) -> Self {
        let opens_source = match state {
            State::Switching { direction, step } | State::NeedsOperator { direction, step } => {
                (direction, step) == (Direction::Reverse, Step::Flip)
            }
            State::RolledBack | State::Completed | State::Cancelled | State::Abandoned => {
                return Self::default();
            }
            // A switch begins with none.
            State::Planned | State::SettingUp | State::Cancelling => return Self::default(),
            // Somebody may move the routes, and then an operator decides by what was learned.
            State::Prepared
            | State::Undone
            | State::Baking { .. }
            | State::Completing
            | State::Undoing { .. }
            | State::Promoting { .. } => false,
        };
        if !is_past_the_switch(state) {
            return self;
        }
        Self {
            replayed: false,
            proved: false,
            deadline: None,
            asked: false,
            promoted: false,
            written_behind: self.written_behind && !opens_source,
            ..self
        }
    }
}
