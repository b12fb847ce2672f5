use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use tokio::time::{Instant, sleep};

use super::{
    control_sessions::ControlSessions, identity::SqlIdentity, replication::SqlReplication,
    statements::promote,
};
use crate::ports::{
    FenceToken, GuardedPromotion, Observation, Observe as _, PromoteAnswer, ProviderError,
    Replication as _,
};

/// Promotes by `pg_promote`, under a guard in the same statement.
#[derive(Debug)]
pub(super) struct SqlPromotion {
    pub(super) control: Arc<ControlSessions>,
    pub(super) identity: SqlIdentity,
    pub(super) replication: Arc<SqlReplication>,
}

#[async_trait]
impl GuardedPromotion for SqlPromotion {
    async fn promote(
        &self,
        token: FenceToken,
        deadline: UnixMillis,
    ) -> Result<PromoteAnswer, ProviderError> {
        let not_closable = &self.control.powers.not_closable;
        let statement = promote(token.marker.lsn, deadline, not_closable);
        let answer = self
            .control
            .postgres
            .batch("promote it", &statement)
            .await?;
        if answer.first().is_some_and(|answer| answer == "t") {
            return Ok(PromoteAnswer::Asked);
        }
        Ok(if self.replication.replay().await?.in_recovery {
            PromoteAnswer::Refused
        } else {
            PromoteAnswer::AlreadyPrimary
        })
    }

    async fn await_primary(&self, within: Duration) -> Result<Observation, ProviderError> {
        let deadline = Instant::now() + within;
        while self.replication.replay().await?.in_recovery {
            if Instant::now() >= deadline {
                let found = "it is in recovery".to_owned();
                return Err(self.control.timed_out("its promotion", within, found));
            }
            sleep(POLL).await;
        }
        self.identity.observe().await
    }
}

/// `pg_promote(true)` would look every 100 ms only.
const POLL: Duration = Duration::from_micros(500);
