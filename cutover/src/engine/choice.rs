//! The decisions that an operator can take where no server can be proven to be the only writer.

use std::{fmt, str::FromStr};

use serde::Serialize;

use super::target_watch::TargetWatch;
use crate::{
    machine::{Direction, Event, State, Step},
    migration::Migration,
};

/// One decision that an operator can take.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Choice {
    pub name: ChoiceName,
    pub message: String,
}

/// The decisions that there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(into = "&'static str")]
pub enum ChoiceName {
    Retry,
    /// By proof that the target is no second writer.
    OpenSource,
    /// By the operator's word that the target is down.
    OpenSourceUnproven,
    /// By the operator's word that the source is down.
    OpenTargetUnproven,
    /// A managed promotion gets more time.
    Wait,
}

/// The decisions that are open to an operator now: those that the machine takes.
/// In a bake there is one only while the target does not answer.
pub(super) fn choices(migration: &Migration, target: &TargetWatch) -> Vec<Choice> {
    let state = migration.state();
    let baking = matches!(state, State::Baking { .. });
    // A server that is starting is not down, whatever an operator asserts.
    let is_down = |target: &TargetWatch| target.silence().is_some_and(|it| !it.is_starting);
    if baking && !is_down(target) {
        return Vec::new();
    }
    ChoiceName::ALL
        .into_iter()
        .filter(|name| state.apply(name.event()).is_ok())
        .map(|name| Choice {
            name,
            message: message(migration, name, target),
        })
        .collect()
}

fn message(migration: &Migration, name: ChoiceName, watch: &TargetWatch) -> String {
    let (source, target) = (&migration.source, &migration.target);
    let promoting = matches!(migration.state(), State::Promoting { .. });
    let place = migration.state().place();
    let back = place.is_some_and(|(direction, _)| direction == Direction::Reverse);
    let baked = place.is_none_or(|(direction, step)| {
        direction == Direction::Reverse && step.can_be_undone(direction)
    });
    let parked = place == Some((Direction::Reverse, Step::Prepare));
    match name {
        ChoiceName::Retry if parked => format!(
            "go on with the bake: {source} is closed again, and {target} serves; refused as long as \
             writers are sent to {source}"
        ),
        ChoiceName::OpenSourceUnproven if baked => format!(
            "open {source} without {target}: you assert that {target} is down for good (powered off, or \
             cut off from every client); if it is not, both accept writes; one that answers is refused; \
             {}; sequences go on behind the rows that {source} has, others where they stood at the switch",
            watch.not_countable(migration)
        ),
        ChoiceName::Retry => retried(migration, place),
        ChoiceName::Wait => format!(
            "wait for {target} as long again; nothing is sent, unless the API says that it never \
             received the request and every proof holds; both stay closed meanwhile"
        ),
        ChoiceName::OpenTargetUnproven => format!(
            "go on towards {target} without asking {source}: you assert that {source} is down for \
             good; if it is not, and its fence does not hold, both accept writes"
        ),
        ChoiceName::OpenSource => format!(
            "open {source} again, if {target} can be proven to be closed and unwritten, or a \
             standby that can be cut off"
        ),
        ChoiceName::OpenSourceUnproven if promoting => format!(
            "open {source} without waiting for {target}: you assert that {target} is down for good \
             (deleted, or cut off from every client) and will never be promoted; if that is wrong, \
             both accept writes"
        ),
        ChoiceName::OpenSourceUnproven if back => format!(
            "open {source} although it is not proven that {target} is closed and unwritten: you assert that \
             {target} is down for good; what was written on it behind its fence is lost; one that answers \
             and is open is refused"
        ),
        ChoiceName::OpenSourceUnproven => format!(
            "open {source} without asking {target}: you assert that {target} is down for good \
             (powered off or cut off from every client); if it is not, both accept writes; \
             what was acknowledged on {target} is lost"
        ),
    }
}

/// A step that can be undone is: the server that was left serves again.
fn retried(migration: &Migration, place: Option<(Direction, Step)>) -> String {
    match place {
        Some((direction, step)) if step.can_be_undone(direction) => format!(
            "go back to {}, with every proof taken anew",
            migration.server(direction.leaves())
        ),
        place => {
            let step = place.map_or("", |(_, step)| step.label());
            format!("try {step} again, with every proof taken anew")
        }
    }
}

impl ChoiceName {
    /// Every choice.
    pub const ALL: [Self; 5] = [
        Self::Retry,
        Self::Wait,
        Self::OpenTargetUnproven,
        Self::OpenSource,
        Self::OpenSourceUnproven,
    ];

    /// What the machine hears of it.
    pub(super) fn event(self) -> Event {
        match self {
            Self::Retry => Event::RetryChosen,
            Self::Wait => Event::WaitChosen,
            Self::OpenTargetUnproven => Event::RetryWithoutSourceChosen,
            Self::OpenSource => Event::OpenSourceChosen,
            Self::OpenSourceUnproven => Event::OpenSourceWithoutTargetChosen,
        }
    }

    /// The name that an operator types.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::OpenSource => "open-source",
            Self::OpenSourceUnproven => "open-source-target-is-down",
            Self::OpenTargetUnproven => "open-target-source-is-down",
            Self::Wait => "wait",
        }
    }
}

impl From<ChoiceName> for &'static str {
    fn from(name: ChoiceName) -> Self {
        name.as_str()
    }
}

impl fmt::Display for ChoiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ChoiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| {
            format!(
                "{text:?} is no choice; allowed: {}",
                Self::ALL.map(Self::as_str).join(", ")
            )
        })
    }
}
