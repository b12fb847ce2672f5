//! How a server becomes a primary: by SQL that it guards itself, or by an API.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{ServerName, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{error::ProviderError, observe::Observation, wal_proof::Marker};

/// A promotion by one statement whose conditions the server itself evaluates.
#[async_trait]
pub trait GuardedPromotion: fmt::Debug + Send + Sync {
    /// Asks for promotion, on the conditions that the server is in recovery and has replayed
    /// the token's marker, that every database but `postgres` is closed, and that its own
    /// clock is before `deadline`. It takes the proof that the source is fenced by value.
    async fn promote(
        &self,
        token: FenceToken,
        deadline: UnixMillis,
    ) -> Result<PromoteAnswer, ProviderError>;

    /// Waits until the server has left recovery.
    async fn await_primary(&self, deadline: Duration) -> Result<Observation, ProviderError>;
}

/// Says that the source was closed at this position. Without one nothing is promoted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FenceToken {
    /// The closed server.
    pub server: ServerName,
    pub system_identifier: String,
    /// The closed server's.
    pub timeline: u32,
    /// The last position that must arrive.
    pub marker: Marker,
    /// Of the leader that closed it.
    pub epoch: u64,
}

/// The answer to a guarded promotion.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum PromoteAnswer {
    /// The server has begun to promote.
    Asked,
    /// The guard did not hold; nothing happened.
    Refused,
    /// It was a primary already.
    AlreadyPrimary,
}

/// A promotion by an API. It carries no condition and no deadline, takes minutes, ends every
/// session on its server, and can be neither called back nor cut off once it was asked for.
///
/// It is asked here and not through control sessions, which a server in the middle of its
/// promotion does not have.
#[async_trait]
pub trait ManagedPromotion: fmt::Debug + Send + Sync {
    /// Sends the request, once: nothing below repeats it, an SDK's retries included. It takes
    /// the proof that the source is fenced by value.
    ///
    /// # Errors
    /// [`ProviderError::Unreachable`] when it is not known whether the request arrived.
    async fn request(&self, token: FenceToken) -> Result<RequestAnswer, ProviderError>;

    /// What the API says of the promotion now.
    async fn progress(&self) -> Result<PromotionProgress, ProviderError>;

    /// What can be said of it beforehand.
    fn outlook(&self) -> PromotionOutlook;
}

/// The API's answer to a request to promote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestAnswer {
    Accepted,
    /// In the API's own words. Nothing is promoted by this request.
    Refused {
        reason: String,
    },
}

/// How far an API says that a promotion is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PromotionProgress {
    /// It never received a request, and none can be on its way.
    NotReceived,
    /// In the API's own words.
    UnderWay { said: String },
    /// The server is a primary.
    Promoted,
    /// In the API's own words.
    Failed { reason: String },
    /// The server does not exist any more, in the API's own words. A server that is only down or
    /// not reached is not gone.
    Gone { said: String },
    /// The API does not say; the server itself may.
    Unknown,
}

/// What is known of a managed promotion before it begins.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PromotionOutlook {
    /// How long one usually takes, where anybody knows.
    pub typical: Option<Duration>,
    /// How long one is waited for until an operator is asked. The wait itself goes on.
    pub patience: Duration,
    /// Between two looks at it.
    pub look_every: Duration,
}
