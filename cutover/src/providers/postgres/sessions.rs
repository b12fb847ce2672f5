//! Other people's sessions: counted, ended, none left.

use std::{collections::BTreeSet, time::Duration};

use pointsman_catalog::UnixMillis;
use tokio::time::{Instant, sleep};

use super::server::SqlServer;
use crate::ports::{ProviderError, ReverseSlot};

impl SqlServer {
    pub(super) async fn count_newcomers(&self, since: UnixMillis) -> Result<u64, ProviderError> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 fit into 53 bits"
        )]
        let since = since.0 as f64;
        let row = self
            .postgres
            .row(
                "count new sessions",
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                   AND datname IS NOT NULL AND pid <> ALL ($2) \
                   AND backend_start > to_timestamp($1::float8 / 1000)",
                &[&since, &self.own_pids()],
            )
            .await?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
    }

    /// Signals each session once, all at once, and polls until none is left.
    /// `spare_workers` spares the reverse stream's apply workers.
    /// `pg_terminate_backend` with its own timeout would take 100 ms a session.
    pub(super) async fn end_all_sessions(
        &self,
        spare: &[ReverseSlot],
        spare_workers: bool,
        within: Duration,
    ) -> Result<u64, ProviderError> {
        let deadline = Instant::now() + within;
        let slots: Vec<&str> = spare.iter().map(|slot| slot.slot.as_str()).collect();
        let own = self.own_pids();
        let mut signalled = BTreeSet::new();
        loop {
            let known: Vec<i32> = signalled.iter().copied().collect();
            let left = self
                .postgres
                .rows(
                    "end its sessions",
                    END,
                    &[&own, &slots, &spare_workers, &known],
                )
                .await?;
            signalled.extend(left.iter().map(|row| row.get::<_, i32>("pid")));
            if left.is_empty() {
                return Ok(u64::try_from(signalled.len()).unwrap_or(u64::MAX));
            }
            if Instant::now() >= deadline {
                let names: Vec<String> = left.iter().map(|row| row.get("words")).collect();
                return Err(self.timed_out("the end of its sessions", within, names.join("; ")));
            }
            sleep(POLL).await;
        }
    }

    /// Parses what the pause will use.
    pub(super) async fn warm_up_sessions(&self) -> Result<(), ProviderError> {
        self.postgres.prepare("end its sessions", END).await?;
        self.sessions_left(&[]).await?;
        Ok(())
    }

    /// The sessions that "none left" counts, in words.
    pub(super) async fn sessions_left(
        &self,
        spare: &[ReverseSlot],
    ) -> Result<Vec<String>, ProviderError> {
        let slots: Vec<&str> = spare.iter().map(|slot| slot.slot.as_str()).collect();
        let rows = self
            .postgres
            .rows(
                "look for sessions",
                LEFT,
                &[&self.own_pids(), &slots, &false],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get("words")).collect())
    }
}

/// A walsender with a database runs plain SQL as well, so it counts as a writer; the one
/// that serves a spared slot does not while it streams. A background worker shows its own
/// name as `backend_type`, so no list of types is complete: everything with a database
/// counts.
macro_rules! left {
    ($columns:literal, $end:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM pg_stat_activity a WHERE a.datname IS NOT NULL AND a.pid <> ALL ($1) \
              AND a.backend_type <> 'autovacuum worker' \
              AND NOT EXISTS (SELECT FROM pg_replication_slots s \
                JOIN pg_stat_replication r ON r.pid = s.active_pid \
                WHERE s.active_pid = a.pid AND s.slot_name = ANY ($2) AND r.state = 'streaming') \
              AND NOT ($3 AND EXISTS (SELECT FROM pg_stat_subscription w \
                WHERE w.pid = a.pid AND w.subname = 'pointsman_rb'))",
            $end
        )
    };
}

const LEFT: &str = left!(
    "format('%s %s of %s in %s (pid %s)', a.backend_type, coalesce(a.application_name, ''), \
     a.usename, a.datname, a.pid) AS words",
    ""
);

const END: &str = left!(
    "a.pid, format('%s %s of %s in %s (pid %s)', a.backend_type, \
     coalesce(a.application_name, ''), a.usename, a.datname, a.pid) AS words, \
     CASE WHEN a.pid <> ALL ($4) THEN pg_terminate_backend(a.pid) END",
    ""
);

const POLL: Duration = Duration::from_micros(500);
