//! What the engine is at, as its record on the disk has it.

use pointsman_catalog::store::{Key, record::decode};
use pointsman_cutover::{
    machine::{Assertion, Direction, Machine, State},
    migration::Migration,
};

use crate::{ledger::ON_RECORD, operator::NAME, world::World};

/// The newest record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Task {
    machine: Option<Machine>,
    /// Since when it is at it, and under this epoch.
    begun: u64,
}

impl Task {
    /// From when on whoever opens a server by hand may be missed by a leader of `epoch` that opens the
    /// other one. What was done before this task began is there to be seen by its own look.
    pub(crate) fn may_miss_from(self, epoch: u64) -> u64 {
        let Some(machine) = self.machine else {
            return 0;
        };
        // Known: nothing ends a process that was taken over from between its look and what it opens.
        let was_taken_over = epoch < machine.epoch();
        // The target of a rollback that is undone served before, whatever others do on the source.
        let serves_again = matches!(
            machine.state(),
            State::Undoing {
                direction: Direction::Reverse,
                ..
            }
        );
        if was_taken_over || serves_again {
            0
        } else {
            self.begun
        }
    }

    /// Whether writers are on their way from one server to the other. The end of a migration opens once
    /// more what serves.
    pub(crate) fn moves_writers(self) -> bool {
        let state = self.machine.map(Machine::state);
        matches!(state, Some(State::Switching { .. } | State::Undoing { .. }))
    }

    /// Whether an operator has given up, for this attempt, what one of the servers has.
    pub(crate) fn is_given_up(self) -> bool {
        let given_up = [
            Assertion::LossAccepted,
            Assertion::SourceDown,
            Assertion::TargetDown,
        ];
        self.machine
            .is_some_and(|machine| given_up.iter().any(|&that| machine.holds(that)))
    }
}

impl World {
    /// A commit has reached the disk.
    pub(crate) fn note_task(&mut self) {
        let key = Key::new(format!("migrations/{NAME}"));
        let Some((_, bytes)) = self.disk.values.get(&key) else {
            return;
        };
        let machine = match decode::<Migration>(&key, bytes) {
            Ok(migration) => migration.machine,
            Err(error) => return self.ledger.violated(ON_RECORD, error.to_string()),
        };
        let is_at = |machine: Machine| (machine.state(), machine.epoch());
        if self.task.machine.map(is_at) != Some(is_at(machine)) {
            self.task = Task {
                machine: Some(machine),
                begun: self.now(),
            };
        }
    }
}
