use pointsman_catalog::{CatalogError, ServerName, store::StoreError};

use crate::{
    journal::JournalError,
    machine::{NotPossible, PromotionStage, State},
    ports::{DataPlaneError, ProviderError},
    preflight::PreflightError,
};

/// What an operator's request ran into; nothing was changed by it. The text is the operator's.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("there is no migration {name:?}; known: {}", list(.known))]
    Unknown { name: String, known: Vec<String> },
    #[error("there is a migration {0:?} already; choose another name")]
    Exists(String),
    #[error(
        "server {server} is part of migration {migration:?}, which is {}; a server takes part in one \
         migration at a time: {}",
        .state.label(),
        .state.way_to_end()
    )]
    ServerTaken {
        server: ServerName,
        migration: String,
        state: State,
    },
    /// The request makes no sense as it stands.
    #[error("{0}")]
    Invalid(String),
    /// It makes sense, and not now.
    #[error("{0}")]
    Refused(String),
    #[error("migration {name:?} is busy with another request; try again")]
    Busy { name: String },
    #[error("migration {name:?} is not driven any more: {}", STOPPED)]
    Stopped { name: String },
    /// It is taken up again by itself. What was asked and not answered was not done, and is
    /// forgotten.
    #[error(
        "migration {name:?} is not driven now: {cause}. What stands on record goes on by itself then; a \
         request that was not accepted is to be made again"
    )]
    NotDriven { name: String, cause: String },
    #[error(
        "the record of migration {name:?} cannot be read, so nobody drives it and nothing is known of it: \
         {cause}. Restore a copy of the store, or use the version of pointsman that wrote it; `pointsman \
         recover` reads the fences left in its servers"
    )]
    Unreadable { name: String, cause: String },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    DataPlane(#[from] DataPlaneError),
}

/// Why a migration is no longer driven.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriveError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The caller of the event gets this error; nothing has changed.
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
}

/// The kinds of refusal, as a client tells them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    NotFound,
    Exists,
    Invalid,
    /// The state forbids it.
    Precondition,
    /// A server or the store did not answer.
    Unavailable,
}

impl From<PreflightError> for EngineError {
    fn from(error: PreflightError) -> Self {
        match error {
            PreflightError::Catalog(error) => Self::Catalog(error),
            PreflightError::Provider(error) => Self::Provider(error),
        }
    }
}

impl EngineError {
    /// What kind of refusal this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::Exists(_) | Self::Journal(JournalError::Exists(_)) => ErrorKind::Exists,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::ServerTaken { .. } | Self::Refused(_) | Self::Busy { .. } => {
                ErrorKind::Precondition
            }
            Self::Catalog(error) => match error {
                CatalogError::UnknownServer { .. }
                | CatalogError::UnknownDatabase { .. }
                | CatalogError::UnknownNode { .. }
                | CatalogError::UnknownGroup { .. } => ErrorKind::NotFound,
                CatalogError::Clash(_)
                | CatalogError::GroupClash(_)
                | CatalogError::CutsSessions(_)
                | CatalogError::Store(_) => ErrorKind::Unavailable,
            },
            Self::Stopped { .. }
            | Self::NotDriven { .. }
            | Self::Unreadable { .. }
            | Self::Journal(_)
            | Self::Provider(_)
            | Self::DataPlane(_) => ErrorKind::Unavailable,
        }
    }

    /// A request that the machine does not take now, with what is possible instead.
    pub(super) fn not_possible(name: &str, error: NotPossible) -> Self {
        let state = error.state;
        let hint = match state {
            State::Planned => "run `migration preflight` and `migration start` first",
            State::Prepared | State::Undone => "it can be switched or cancelled",
            State::Baking { .. } => "it can be rolled back or completed",
            State::Promoting { stage } => match stage {
                PromotionStage::Requesting | PromotionStage::UnderWay => PROMOTING,
                PromotionStage::Stalled => STALLED,
            },
            State::NeedsOperator { .. } => {
                "it waits for a decision: see `migration status` and `migration resolve`"
            }
            State::RolledBack | State::Completed | State::Cancelled | State::Abandoned => {
                "it has ended; rebuild the standby and create a new migration"
            }
            State::SettingUp
            | State::Switching { .. }
            | State::Undoing { .. }
            | State::Completing
            | State::Cancelling => "something is under way: see `migration status --watch`",
        };
        Self::Refused(format!("migration {name:?} is {}: {hint}", describe(state)))
    }
}

/// A state as operators read it.
pub(super) fn describe(state: State) -> String {
    if let State::Switching { direction, step } = state {
        return format!("switching {} (step {})", direction.label(), step.label());
    }
    if let State::Undoing { direction, step } = state {
        let (direction, step) = (direction.label(), step.label());
        return format!("undoing its {direction} switch (from step {step})");
    }
    if let State::Promoting { stage } = state {
        return match stage {
            PromotionStage::Requesting | PromotionStage::UnderWay => "being promoted by an API",
            PromotionStage::Stalled => {
                "waiting for a promotion by an API that did not come through"
            }
        }
        .to_owned();
    }
    if let State::NeedsOperator { step, .. } = state {
        return format!("waiting for an operator (at step {})", step.label());
    }
    state.label().replace('_', " ")
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::Journal(error.into())
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

const PROMOTING: &str = "an API was asked for the promotion, which cannot be called back: nothing is \
     aborted, cancelled or completed before it is through. Then the target serves, and `migration \
     rollback` goes back; a target that is proven to exist no more opens the source by itself; what \
     else can be decided is in `migration status`";
const STALLED: &str = "an API was asked for the promotion, which cannot be called back, and it may come \
     through at any time: nothing is aborted; decide with `migration resolve` (the choices are in \
     `migration status`)";
const STOPPED: &str = "this control plane is stopping, or another one drives it; see its log";
