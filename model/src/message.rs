//! What was sent and has not arrived.

use pointsman_cutover::machine::Side;

/// A statement or a request under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message {
    pub statement: Statement,
    /// Of the session that it was sent on.
    pub epoch: u8,
}

/// What changes a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Statement {
    Close(Side),
    Open(Side),
    /// Guarded by the target itself.
    Promote {
        /// The target has replayed the token's marker.
        replayed: bool,
        /// How many times the clock must move on until the target refuses it.
        deadline: u8,
    },
    /// To the API that promotes the target.
    AskApi,
}

impl Statement {
    /// The server whose session carries it; the API's requests are on none.
    pub fn side(self) -> Option<Side> {
        match self {
            Self::Close(side) | Self::Open(side) => Some(side),
            Self::Promote { .. } => Some(Side::Target),
            Self::AskApi => None,
        }
    }
}

/// How far the API is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Api {
    /// It never received a request.
    Idle,
    UnderWay,
    /// It says that the promotion failed, which it may be wrong about.
    Failed,
}

/// Where the sidecars send writers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Route {
    Source,
    /// New connections are parked.
    Hold,
    /// A hold that was over before anything else was published.
    Refuse,
    Target,
    /// By hand, to a server that is no part of the migration.
    Elsewhere,
}
