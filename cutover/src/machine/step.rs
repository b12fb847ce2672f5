use serde::{Deserialize, Serialize};

use super::direction::Direction;

/// The steps of a switch, in their order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Sessions open, checks fresh, fleet complete. Nothing is changed.
    Prepare,
    /// New connections are parked in the sidecars.
    Hold,
    /// The old writer refuses everybody; its final position is known.
    Fence,
    /// The new writer has everything up to that position.
    CatchUp,
    /// The fence is proved once more. The last step before the intent to promote.
    Prove,
    /// Forward: entering it is the intent to promote; from here on the source may only be
    /// opened by proof. Backward: sequences are carried over, the reverse stream stops.
    Promote,
    /// What must exist before the first write: slots; `pg_hba.conf` and logins backward.
    Prime,
    /// The new writer opens and the fleet is sent there.
    Flip,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 8] = [
        Self::Prepare,
        Self::Hold,
        Self::Fence,
        Self::CatchUp,
        Self::Prove,
        Self::Promote,
        Self::Prime,
        Self::Flip,
    ];

    /// The step after this one, `None` after the last.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Prepare => Some(Self::Hold),
            Self::Hold => Some(Self::Fence),
            Self::Fence => Some(Self::CatchUp),
            Self::CatchUp => Some(Self::Prove),
            Self::Prove => Some(Self::Promote),
            Self::Promote => Some(Self::Prime),
            Self::Prime => Some(Self::Flip),
            Self::Flip => None,
        }
    }

    /// The first step that cannot simply be taken back: forward the intent to promote,
    /// backward the opening of the source.
    pub fn point_of_no_return(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self::Promote,
            Direction::Reverse => Self::Flip,
        }
    }

    /// Whether what this step did can simply be taken back.
    pub fn can_be_undone(self, direction: Direction) -> bool {
        self < Self::point_of_no_return(direction)
    }

    /// Whether its intent must be durable before it begins, because what recovery does
    /// depends on it. Any other step is recovered exactly as the step before it, so its
    /// intent may be written with the next durable one.
    pub fn intent_is_durable(self, direction: Direction) -> bool {
        match self {
            Self::Prepare | Self::Hold | Self::Fence | Self::Promote | Self::Flip => true,
            Self::CatchUp | Self::Prove => false,
            // Backward it lets superusers into the source.
            Self::Prime => direction == Direction::Reverse,
        }
    }

    /// The step's name, as `status` and the journal print it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Hold => "hold",
            Self::Fence => "fence",
            Self::CatchUp => "catch_up",
            Self::Prove => "prove",
            Self::Promote => "promote",
            Self::Prime => "prime",
            Self::Flip => "flip",
        }
    }
}
