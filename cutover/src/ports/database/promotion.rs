use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{ServerName, UnixMillis};
use serde::{Deserialize, Serialize};

use super::{error::ProviderError, missing::NotOffered, observe::Observation, wal_proof::Marker};

/// How a server becomes a primary.
#[derive(Clone, Debug)]
pub enum PromotionMethod {
    /// By SQL, within milliseconds. The server itself checks the conditions; sessions survive.
    Guarded(Arc<dyn GuardedPromotion>),
    /// By a cloud's API, within minutes. The request is sent once and carries no condition and
    /// no deadline; every session ends; the standby cannot be cut off meanwhile.
    Managed,
}

impl PromotionMethod {
    /// The guarded promotion, or why there is none.
    ///
    /// The switch relies on it: a hold lasts seconds, and an undo must be able to outwait a
    /// promotion that was asked for.
    ///
    /// # Errors
    /// The promotion is a managed one.
    pub fn guarded(&self) -> Result<&Arc<dyn GuardedPromotion>, NotOffered> {
        match self {
            Self::Guarded(promotion) => Ok(promotion),
            Self::Managed => Err(NotOffered {
                reason: "its promotion is a managed one: an API promotes it within minutes, \
                         without a condition and without a deadline, and every session ends"
                    .to_owned(),
                remedy: "choose a target that is promoted by SQL".to_owned(),
            }),
        }
    }
}

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
