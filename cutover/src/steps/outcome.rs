use pointsman_catalog::{CatalogError, ServerName};
use serde_json::Value;

use crate::{
    Lsn,
    lease::LeaseError,
    machine::Event,
    migration::{Learned, MissingFact},
    ports::{DataPlaneError, MissingRole, ProviderError},
};

/// Why the next step may begin, and what this one found out.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) event: Event,
    pub(crate) message: String,
    pub(crate) evidence: Value,
    pub(crate) learned: Vec<Learned>,
    /// Up to where the source has everything of the reverse stream.
    pub(crate) confirmed: Option<Lsn>,
}

/// Why it may not, and what was found out all the same.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) problem: Problem,
    /// The server that the failure came from, where it was one.
    pub(crate) server: Option<ServerName>,
    pub(crate) message: String,
    pub(crate) learned: Vec<Learned>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Problem {
    /// A server or the store did not answer: worth another try.
    Unanswered,
    /// A server is there and lets nobody in now, by its own word. Worth another try as well.
    Starting,
    /// It answered, and what was waited for did not happen.
    TimedOut,
    /// Sessions are left that only a person can end.
    SessionsLeft,
    /// It answered with an error.
    Rejected,
    /// A newer leader drives the server.
    Superseded,
    /// A right, a setting or a role is missing.
    Unfit,
    /// The record lacks something.
    MissingFact,
    /// The step's own condition does not hold.
    ConditionNotMet,
    /// As before, and the target is proven to be a closed primary that nobody wrote to.
    TargetUnwritten,
    /// No server can be proven to be the only writer.
    Unprovable,
    /// The reverse stream delivers no more.
    StreamBroken,
    /// Somebody moved the routes, or opened the source, by hand.
    MovedByHand,
    /// Somebody else did something on the source in the bake.
    SourceDisturbed,
}

impl Proof {
    pub(crate) fn new(message: impl Into<String>, evidence: Value) -> Self {
        Self {
            event: Event::Done,
            message: message.into(),
            evidence,
            learned: Vec::new(),
            confirmed: None,
        }
    }

    /// Adds what was found out.
    pub(crate) fn learning(mut self, learned: Learned) -> Self {
        self.learned.push(learned);
        self
    }

    /// Says what else was done.
    pub(crate) fn saying(mut self, more: Option<String>) -> Self {
        if let Some(more) = more {
            self.message.push_str(&format!("; {more}"));
        }
        self
    }
}

impl Failure {
    pub(crate) fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self {
            problem,
            server: None,
            message: message.into(),
            learned: Vec::new(),
        }
    }

    /// The step's own condition does not hold.
    pub(crate) fn condition(message: impl Into<String>) -> Self {
        Self::new(Problem::ConditionNotMet, message)
    }

    /// Neither server can be proven to be the only writer.
    pub(crate) fn unprovable(message: impl Into<String>) -> Self {
        Self::new(Problem::Unprovable, message)
    }

    /// Adds what was found out before it failed.
    pub(crate) fn learning(mut self, learned: Learned) -> Self {
        self.learned.push(learned);
        self
    }

    /// Whether a server or the store did not answer, or a server is not through with its start.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self.problem, Problem::Unanswered | Problem::Starting)
    }

    /// Whether nothing is heard. A server that says that it starts is not down, whatever an operator
    /// asserts.
    pub(crate) fn is_silent(&self) -> bool {
        self.problem == Problem::Unanswered
    }

    /// Whether a server is there and lets nobody in now.
    pub(crate) fn is_starting(&self) -> bool {
        self.problem == Problem::Starting
    }
}

/// Adds what was found out, also to a failure.
pub(super) fn with_learned(
    outcome: Result<Proof, Failure>,
    learned: Learned,
) -> Result<Proof, Failure> {
    match outcome {
        Ok(proof) => Ok(proof.learning(learned)),
        Err(failure) => Err(failure.learning(learned)),
    }
}

/// The same for several things.
pub(super) fn with_all(
    mut outcome: Result<Proof, Failure>,
    learned: Vec<Learned>,
) -> Result<Proof, Failure> {
    match &mut outcome {
        Ok(proof) => proof.learned.extend(learned),
        Err(failure) => failure.learned.extend(learned),
    }
    outcome
}

impl Problem {
    /// Whether a server answered and nothing more is known of what that means.
    pub(super) fn is_an_answer(self) -> bool {
        match self {
            Self::TimedOut
            | Self::SessionsLeft
            | Self::Rejected
            | Self::Superseded
            | Self::Unfit
            | Self::MissingFact
            | Self::ConditionNotMet => true,
            Self::Unanswered
            | Self::Starting
            | Self::TargetUnwritten
            | Self::Unprovable
            | Self::StreamBroken
            | Self::MovedByHand
            | Self::SourceDisturbed => false,
        }
    }

    /// What the machine hears of it, with or without time for another try.
    pub(crate) fn event(self, time_left: bool) -> Event {
        match self {
            Self::Unanswered | Self::Starting if time_left => Event::Unanswered,
            Self::Unanswered
            | Self::Starting
            | Self::TimedOut
            | Self::SessionsLeft
            | Self::Rejected
            | Self::Superseded
            | Self::Unfit
            | Self::MissingFact
            | Self::ConditionNotMet => Event::Failed,
            Self::TargetUnwritten => Event::FailedTargetUnwritten,
            Self::Unprovable => Event::Unprovable,
            Self::StreamBroken => Event::ReverseStreamBroke,
            Self::MovedByHand => Event::MovedByHand,
            Self::SourceDisturbed => Event::SourceFenceBroken,
        }
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        let message = error.to_string();
        let (problem, server) = match error {
            ProviderError::Unreachable { server, .. } => (Problem::Unanswered, server),
            ProviderError::Starting { server, .. } => (Problem::Starting, server),
            ProviderError::TimedOut { server, .. } => (Problem::TimedOut, server),
            ProviderError::SessionsLeft { server, .. } => (Problem::SessionsLeft, server),
            ProviderError::Failed { server, .. } | ProviderError::Closed { server, .. } => {
                (Problem::Rejected, server)
            }
            ProviderError::Superseded { server, .. } => (Problem::Superseded, server),
            ProviderError::Unfit { server, .. } => (Problem::Unfit, server),
            ProviderError::MissingRole(MissingRole { server, .. }) => (Problem::Unfit, server),
        };
        Self {
            server: Some(server),
            ..Self::new(problem, message)
        }
    }
}

impl From<MissingRole> for Failure {
    fn from(error: MissingRole) -> Self {
        ProviderError::from(error).into()
    }
}

impl From<MissingFact> for Failure {
    fn from(error: MissingFact) -> Self {
        Self::new(Problem::MissingFact, error.to_string())
    }
}

impl From<DataPlaneError> for Failure {
    fn from(error: DataPlaneError) -> Self {
        let cause = std::error::Error::source(&error)
            .map_or_else(String::new, |source| format!(": {source}"));
        let problem = match error {
            DataPlaneError::Store(_) | DataPlaneError::NotPublished(_) => Problem::Unanswered,
            DataPlaneError::Disturbed(_) | DataPlaneError::Render(_) => Problem::Rejected,
        };
        Self::new(problem, format!("{error}{cause}"))
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        let problem = match error {
            CatalogError::Store(_) => Problem::Unanswered,
            CatalogError::UnknownServer { .. }
            | CatalogError::UnknownDatabase { .. }
            | CatalogError::UnknownNode { .. }
            | CatalogError::UnknownGroup { .. }
            | CatalogError::GroupClash(_)
            | CatalogError::CutsSessions(_)
            | CatalogError::Clash(_) => Problem::Rejected,
        };
        Self::new(problem, error.to_string())
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        let problem = match error {
            LeaseError::Store(_) => Problem::Unanswered,
            LeaseError::Taken { .. } | LeaseError::Released => Problem::ConditionNotMet,
        };
        Self::new(problem, error.to_string())
    }
}
