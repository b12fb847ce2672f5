//! The decisions that an operator can take where no server can be proven to be the only writer.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{
    machine::{Direction, PromotionStage, State, Step},
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

/// The decisions that are open to an operator now.
pub(super) fn choices(migration: &Migration) -> Vec<Choice> {
    match migration.state() {
        State::NeedsOperator { direction, step } => unproven(migration, direction, step),
        State::Promoting { stage } => promoting(migration, stage),
        State::Planned
        | State::SettingUp
        | State::Prepared
        | State::Switching { .. }
        | State::Undoing { .. }
        | State::Undone
        | State::Baking { .. }
        | State::RolledBack
        | State::Completing
        | State::Completed
        | State::Cancelling
        | State::Cancelled => Vec::new(),
    }
}

/// While an API promotes the target, the source is opened by no choice but this assertion.
fn promoting(migration: &Migration, stage: PromotionStage) -> Vec<Choice> {
    let (source, target) = (&migration.source, &migration.target);
    let assert = Choice {
        name: ChoiceName::OpenSourceUnproven,
        message: format!(
            "open {source} without waiting for {target}: you assert that {target} is down for good \
             (deleted, or cut off from every client) and will never be promoted; if that is wrong, \
             both accept writes"
        ),
    };
    let wait = Choice {
        name: ChoiceName::Wait,
        message: format!(
            "wait for {target} as long again; nothing is sent, unless the API says that it never \
             received the request and every proof holds; both stay closed meanwhile"
        ),
    };
    match stage {
        PromotionStage::Requesting => Vec::new(),
        PromotionStage::UnderWay => vec![assert],
        PromotionStage::Stalled => vec![wait, assert],
    }
}

fn unproven(migration: &Migration, direction: Direction, step: Step) -> Vec<Choice> {
    let (source, target) = (&migration.source, &migration.target);
    let mut choices = vec![Choice {
        name: ChoiceName::Retry,
        message: format!("try {} again, with every proof taken anew", step.label()),
    }];
    if direction == Direction::Forward && step >= Step::Promote {
        choices.push(Choice {
            name: ChoiceName::OpenTargetUnproven,
            message: format!(
                "go on towards {target} without asking {source}: you assert that {source} is down for \
                 good; if it is not, and its fence does not hold, both accept writes"
            ),
        });
    }
    if direction == Direction::Forward {
        choices.push(Choice {
            name: ChoiceName::OpenSource,
            message: format!(
                "open {source} again, if {target} can be proven to be closed and unwritten, or a \
                 standby that can be cut off"
            ),
        });
        choices.push(Choice {
            name: ChoiceName::OpenSourceUnproven,
            message: format!(
                "open {source} without asking {target}: you assert that {target} is down for good \
                 (powered off or cut off from every client); if it is not, both accept writes; \
                 what was acknowledged on {target} is lost"
            ),
        });
    }
    choices
}

impl ChoiceName {
    /// Every choice.
    pub const ALL: [Self; 5] = [
        Self::Retry,
        Self::OpenSource,
        Self::OpenSourceUnproven,
        Self::OpenTargetUnproven,
        Self::Wait,
    ];

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
