use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use pointsman_catalog::UnixMillis;
use tokio::time::{Instant, sleep};

use super::{control_sessions::ControlSessions, statements::identifier};
use crate::ports::{ProviderError, ReverseSlot};

/// Every session on a server that is not one of the control sessions.
#[derive(Clone, Debug)]
pub(super) struct ClientSessions {
    control: Arc<ControlSessions>,
}

/// What becomes of the reverse stream's apply workers when sessions are ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Workers {
    End,
    Spare,
}

impl ClientSessions {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self { control }
    }

    pub(super) async fn newcomers(&self, since: UnixMillis) -> Result<u64, ProviderError> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 fit into 53 bits"
        )]
        let since = since.0 as f64;
        let row = self
            .control
            .postgres
            .row(
                "count new sessions",
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                   AND datname IS NOT NULL AND pid <> ALL ($2) \
                   AND backend_start > to_timestamp($1::float8 / 1000)",
                &[&since, &self.control.own_pids()],
            )
            .await?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
    }

    /// Signals each session once, all at once, and polls until none is left.
    /// `pg_terminate_backend` with its own timeout would take 100 ms a session.
    pub(super) async fn end_all(
        &self,
        spare: &[ReverseSlot],
        workers: Workers,
        within: Duration,
    ) -> Result<u64, ProviderError> {
        let deadline = Instant::now() + within;
        let slots: Vec<&str> = spare.iter().map(|slot| slot.slot.as_str()).collect();
        let own = self.control.own_pids();
        let spare_workers = workers == Workers::Spare;
        let mut signalled = BTreeSet::new();
        loop {
            let known: Vec<i32> = signalled.iter().copied().collect();
            let left = self
                .control
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
                let names: Vec<String> = left.iter().map(|row| row.get("description")).collect();
                return Err(self.control.timed_out(
                    "the end of its sessions",
                    within,
                    names.join("; "),
                ));
            }
            sleep(POLL).await;
        }
    }

    /// See [`SessionControl::await_starting_backends`](crate::ports::SessionControl).
    pub(super) async fn await_starting(&self) -> Result<(), ProviderError> {
        let what = "wait out starting sessions";
        let rows = self.control.postgres.rows(what, TABLESPACES, &[]).await?;
        let statements: Vec<String> = rows
            .iter()
            .map(|row| {
                format!(
                    "ALTER DATABASE {} SET TABLESPACE {}",
                    identifier(row.get(0)),
                    identifier(row.get(1))
                )
            })
            .collect();
        // Each must be a message of its own; sent at once they cost one round trip.
        let waits = statements
            .iter()
            .map(|sql| self.control.postgres.batch(what, sql));
        try_join_all(waits).await?;
        Ok(())
    }

    /// Parses what the pause will use.
    pub(super) async fn warm_up(&self) -> Result<(), ProviderError> {
        self.control
            .postgres
            .prepare("end its sessions", END)
            .await?;
        self.control
            .postgres
            .rows("read its tablespaces", TABLESPACES, &[])
            .await?;
        self.left(&[]).await?;
        Ok(())
    }

    /// The sessions that "none left" counts, one description each.
    pub(super) async fn left(&self, spare: &[ReverseSlot]) -> Result<Vec<String>, ProviderError> {
        let slots: Vec<&str> = spare.iter().map(|slot| slot.slot.as_str()).collect();
        let rows = self
            .control
            .postgres
            .rows(
                "look for sessions",
                LEFT,
                &[&self.control.own_pids(), &slots, &false],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get("description")).collect())
    }
}

const TABLESPACES: &str = "SELECT d.datname::text, t.spcname::text FROM pg_database d \
     JOIN pg_tablespace t ON t.oid = d.dattablespace \
     WHERE NOT d.datallowconn AND d.datname <> 'postgres'";

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
     a.usename, a.datname, a.pid) AS description",
    ""
);

const END: &str = left!(
    "a.pid, format('%s %s of %s in %s (pid %s)', a.backend_type, \
     coalesce(a.application_name, ''), a.usename, a.datname, a.pid) AS description, \
     CASE WHEN a.pid <> ALL ($4) THEN pg_terminate_backend(a.pid) END",
    ""
);

const POLL: Duration = Duration::from_micros(500);
