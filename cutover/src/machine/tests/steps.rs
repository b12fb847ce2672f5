//! The steps a second time: a new one is a row here, and every table of these tests has it.

use super::*;
use Durability::{Now, WithTheNext};
use Part::{Opens, Promotes, Undoable};

/// What can be done about a step that fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// It is taken back.
    Undoable,
    /// Backward it is taken back; forward the target may be promoted, and is closed.
    Promotes,
    /// The new writer may be open.
    Opens,
}

/// The steps in their order, and how each one's intent is written.
pub(super) const STEPS: [(Step, Part, Durability); 8] = [
    (Step::Prepare, Undoable, Now),
    (Step::Hold, Undoable, Now),
    (Step::Fence, Undoable, Now),
    (Step::CatchUp, Undoable, WithTheNext),
    (Step::Prove, Undoable, WithTheNext),
    (Step::Promote, Promotes, Now),
    (Step::Prime, Promotes, WithTheNext),
    (Step::Flip, Opens, Now),
];

/// The part of `step`.
pub(super) fn part(step: Step) -> Part {
    let listed = STEPS.into_iter().find(|(listed, ..)| *listed == step);
    let (_, part, _) = listed.unwrap_or_else(|| panic!("{step:?} is not among STEPS"));
    part
}

#[test]
fn the_steps_and_their_order_are_those_of_the_list() {
    assert_eq!(Step::ALL, STEPS.map(|(step, ..)| step));
    let following = Step::ALL.map(Step::next);
    let listed = STEPS.into_iter().skip(1).map(|(step, ..)| Some(step));
    assert!(following.into_iter().eq(listed.chain([None])));
}
