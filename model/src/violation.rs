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
    GivenUpUnasked,
    AskedTwice,
    ServedClosed,
    StaleActed,
    OlderObeyed,
    HeldForSource,
    AbandonedOwes,
}

/// The ones that were seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Violations(pub u32);

impl Violation {
    /// Every one.
    pub const ALL: [Self; 17] = [
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
        Self::GivenUpUnasked,
        Self::AskedTwice,
        Self::ServedClosed,
        Self::StaleActed,
        Self::OlderObeyed,
        Self::HeldForSource,
        Self::AbandonedOwes,
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
            Self::SaidProven => {
                "a way back is called proven only over a stream that was seen and a source that was \
                 left alone"
            }
            Self::NotPossible => "what comes of a command has a place in the machine",
            Self::RollbackUnlooked => {
                "a rollback opens the source only behind a look at the target's fence"
            }
            Self::GivenUpUnasked => {
                "what others did on the source in the bake is given up by an operator's word alone"
            }
            Self::AskedTwice => {
                "an API is asked again only by its own word that it received nothing"
            }
            Self::StaleActed => {
                "a process that was taken over from opens or shuts no server but as its leader is about to"
            }
            Self::OlderObeyed => "a server does nothing for a leader that is older than its fence",
            Self::HeldForSource => {
                "whoever is held for a target that is down is sent to the source by an operator's choice alone"
            }
            Self::AbandonedOwes => "a migration that was abandoned does nothing more",
            Self::ServedClosed => "no server is closed while writers are sent to it by hand",
        }
    }

    /// Why a violation of it is known and stands, if it is.
    pub fn known(self) -> Option<&'static str> {
        (self == Self::StaleActed).then_some(
            "between two commands a leader has no session on a server, and the fence's record there may be \
             older than a process that was taken over from: nothing on the server refuses that process \
             then. The embedded store is open in one process alone, so there is no second one to do it",
        )
    }

    /// Whether a violation of this promise is known and stands.
    pub fn is_known(promise: &str) -> bool {
        let mut all = Self::ALL.into_iter();
        all.any(|violation| violation.promise() == promise && violation.known().is_some())
    }

    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

impl Violations {
    /// Whether nothing was seen.
    pub fn none(self) -> bool {
        self.0 == 0
    }

    /// Whether this one was seen.
    pub fn has(self, violation: Violation) -> bool {
        self.0 & violation.bit() != 0
    }

    /// What follows from one that is known says nothing more.
    pub(crate) fn add(&mut self, violation: Violation) {
        if !self.has(Violation::StaleActed) {
            self.0 |= violation.bit();
        }
    }
}

/// That no migration stands still for good.
pub const REACHES_END: &str = "an end can be reached from everywhere";

/// What no promise says, and a switch is for.
pub const COMES_THROUGH: &str = "a switch can bake with a proven way back, roll back and complete";
