//! The standby's side: replay, promotion, what feeds it.

use std::time::Duration;

use pointsman_catalog::UnixMillis;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::PgLsn;

use super::{server::SqlServer, statements::promote};
use crate::{
    Lsn,
    ports::{FenceToken, Observation, PromoteAnswer, ProviderError, Replay, StandbyLink},
};

impl SqlServer {
    pub(super) async fn read_replay(&self) -> Result<Replay, ProviderError> {
        let row = self
            .postgres
            .row(
                "read its replay position",
                "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()",
                &[],
            )
            .await?;
        let replayed: Option<PgLsn> = row.get(1);
        Ok(Replay {
            in_recovery: row.get(0),
            replayed: replayed.map(|lsn| Lsn(lsn.into())).unwrap_or_default(),
        })
    }

    pub(super) async fn await_replayed(
        &self,
        lsn: Lsn,
        within: Duration,
    ) -> Result<Replay, ProviderError> {
        let deadline = Instant::now() + within;
        loop {
            let replay = self.read_replay().await?;
            if !replay.in_recovery || replay.replayed >= lsn {
                return Ok(replay);
            }
            if Instant::now() >= deadline {
                let found = format!("it is at {}", replay.replayed);
                return Err(self.timed_out(&format!("replay up to {lsn}"), within, found));
            }
            sleep(POLL).await;
        }
    }

    pub(super) async fn guarded_promote(
        &self,
        token: FenceToken,
        deadline: UnixMillis,
    ) -> Result<PromoteAnswer, ProviderError> {
        let statement = promote(token.marker.lsn, deadline);
        let answer = self.postgres.batch("promote it", &statement).await?;
        if answer.first().is_some_and(|answer| answer == "t") {
            return Ok(PromoteAnswer::Asked);
        }
        Ok(if self.read_replay().await?.in_recovery {
            PromoteAnswer::Refused
        } else {
            PromoteAnswer::AlreadyPrimary
        })
    }

    pub(super) async fn await_end_of_recovery(
        &self,
        within: Duration,
    ) -> Result<Observation, ProviderError> {
        let deadline = Instant::now() + within;
        while self.read_replay().await?.in_recovery {
            if Instant::now() >= deadline {
                let found = "it is in recovery".to_owned();
                return Err(self.timed_out("its promotion", within, found));
            }
            sleep(POLL).await;
        }
        self.read_identity().await
    }

    pub(super) async fn read_standby_link(&self) -> Result<StandbyLink, ProviderError> {
        let row = self
            .postgres
            .row(
                "read what feeds it",
                "SELECT nullif(current_setting('primary_slot_name'), ''), \
                   current_setting('restore_command')",
                &[],
            )
            .await?;
        Ok(StandbyLink {
            slot: row.get(0),
            restore_command: row.get(1),
        })
    }
}

/// `pg_promote(true)` would look every 100 ms only.
const POLL: Duration = Duration::from_micros(500);
