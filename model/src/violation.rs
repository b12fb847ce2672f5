//! The promises, each with what breaks it.

/// What may never be seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Violation {
    TwoWriters,
    Lost,
    TargetOpenedUnproven,
    SourceOpenedUnproven,
    PromotedUnproven,
    HeldTwice,
    NotServed,
    SaidProven,
    NotPossible,
    RollbackUnlooked,
}

/// The ones that were seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Violations(pub u16);

impl Violation {
    /// Every one.
    pub const ALL: [Self; 10] = [
        Self::TwoWriters,
        Self::Lost,
        Self::TargetOpenedUnproven,
        Self::SourceOpenedUnproven,
        Self::PromotedUnproven,
        Self::HeldTwice,
        Self::NotServed,
        Self::SaidProven,
        Self::NotPossible,
        Self::RollbackUnlooked,
    ];

    /// The promise, as the report names it.
    pub fn promise(self) -> &'static str {
        match self {
            Self::TwoWriters => "no two servers acknowledge writes",
            Self::Lost => "nothing acknowledged is lost but by an operator's word",
            Self::TargetOpenedUnproven => "the target is opened only behind a proved fence",
            Self::SourceOpenedUnproven => {
                "after the intent to promote the source is opened only by proof or by an operator's \
                 word"
            }
            Self::PromotedUnproven => {
                "the target is promoted only behind a fence that its leader has proved"
            }
            Self::HeldTwice => "a switch holds once, so every hold ends",
            Self::NotServed => "a migration that rests is where its status says",
            Self::SaidProven => "a way back is called proven only over a stream that was seen",
            Self::NotPossible => "what comes of a command has a place in the machine",
            Self::RollbackUnlooked => {
                "a rollback opens the source only behind a look at the target's fence"
            }
        }
    }

    /// Why a violation of it is known and stands, if it is.
    pub fn known(self) -> Option<&'static str> {
        match self {
            Self::RollbackUnlooked => Some(
                "the step Flip of a rollback looks at the target's fence no more; the machine has no \
                 part in it (steps/flip.rs)",
            ),
            Self::TwoWriters
            | Self::Lost
            | Self::TargetOpenedUnproven
            | Self::SourceOpenedUnproven
            | Self::PromotedUnproven
            | Self::HeldTwice
            | Self::NotServed
            | Self::SaidProven
            | Self::NotPossible => None,
        }
    }

    fn bit(self) -> u16 {
        1 << (self as u16)
    }
}

impl Violations {
    /// Whether nothing was seen.
    pub fn none(self) -> bool {
        self.0 == 0
    }

    /// Whether all that was seen is known and stands.
    pub(crate) fn all_known(self) -> bool {
        let mut seen = Violation::ALL.into_iter().filter(|&one| self.has(one));
        seen.all(|violation| violation.known().is_some())
    }

    /// Whether this one was seen.
    pub fn has(self, violation: Violation) -> bool {
        self.0 & violation.bit() != 0
    }

    pub(crate) fn add(&mut self, violation: Violation) {
        self.0 |= violation.bit();
    }
}
