use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use pointsman_catalog::{ServerName, UnixMillis};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Row, error::SqlState};

use super::{
    control_sessions::ControlSessions,
    powers::BackendWait,
    session::{PASSING, Params},
    statements::runs_with_secret,
    text::identifier,
};
use crate::ports::{Arrivals, ProviderError, ReverseSlot};

/// Every session on a server that is not one of the control sessions.
#[derive(Clone, Debug)]
pub(super) struct ClientSessions {
    control: Arc<ControlSessions>,
}

/// A session that "none left" counts.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) description: String,
    /// Of the replication protocol. It passes a connection limit.
    pub(super) walsender: bool,
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

    /// See [`SessionControl::arrivals`](crate::ports::SessionControl).
    pub(super) async fn arrivals(
        &self,
        since: UnixMillis,
        datnames: &[String],
    ) -> Result<Arrivals, ProviderError> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 fit into 53 bits"
        )]
        let since = since.0 as f64;
        let row = self
            .control
            .postgres
            .row(
                COUNT,
                ARRIVALS,
                &[
                    &since,
                    &self.control.own_pids(),
                    &self.control.powers.not_closable,
                    &datnames,
                ],
            )
            .await?;
        let count = |column| {
            let found = row.try_get(column).map_err(|error| error.to_string());
            count(self.control.postgres.server(), column, found)
        };
        Ok(Arrivals {
            logging_in: count("logging_in")?,
            logged_in: count("logged_in")?,
            newcomers: count("newcomers")?,
        })
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
        let powers = &self.control.powers;
        let mut signalled = BTreeSet::new();
        loop {
            let known: Vec<i32> = signalled.iter().copied().collect();
            let left = self
                .control
                .postgres
                .rows(
                    "end its sessions",
                    END,
                    &[
                        &own,
                        &slots,
                        &spare_workers,
                        &powers.not_closable,
                        &known,
                        &powers.superuser,
                    ],
                )
                .await?;
            let cancelled = |row: &&Row| row.get::<_, bool>("cancelled");
            let ended = left.iter().filter(|row| !cancelled(row));
            signalled.extend(ended.map(|row| row.get::<_, i32>("pid")));
            if left.is_empty() {
                return Ok(u64::try_from(signalled.len()).unwrap_or(u64::MAX));
            }
            if Instant::now() >= deadline {
                return Err(self.would_not_end(&left, within));
            }
            sleep(POLL).await;
        }
    }

    /// Why `left` are still there: as long as one is among them that the control role may not end,
    /// no other try helps.
    fn would_not_end(&self, left: &[Row], within: Duration) -> ProviderError {
        let named = |rows: Vec<&Row>| {
            let names: Vec<&str> = rows.iter().map(|row| row.get("description")).collect();
            names.join("; ")
        };
        let others: Vec<_> = left
            .iter()
            .filter(|row| !row.get::<_, bool>("may_end"))
            .collect();
        if others.is_empty() {
            let found = named(left.iter().collect());
            return self
                .control
                .timed_out("the end of its sessions", within, found);
        }
        ProviderError::SessionsLeft {
            server: self.control.server.name.clone(),
            sessions: named(others),
        }
    }

    /// See [`SessionControl::await_starting_backends`](crate::ports::SessionControl).
    pub(super) async fn await_starting(&self) -> Result<(), ProviderError> {
        match self.control.powers.backend_wait() {
            BackendWait::Tablespace => self.wait_by_tablespace().await,
            BackendWait::Rename => self.wait_by_rename().await,
        }
    }

    async fn wait_by_tablespace(&self) -> Result<(), ProviderError> {
        let rows = self.control.postgres.rows(WAIT, TABLESPACES, &[]).await?;
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
            .map(|sql| self.control.postgres.batch(WAIT, sql));
        try_join_all(waits).await?;
        Ok(())
    }

    /// A database cannot get the name that it has: the server says so once it has the lock, and
    /// takes no transaction id for that. Unlike a move it may name the session's own database.
    async fn wait_by_rename(&self) -> Result<(), ProviderError> {
        let rows = self.control.postgres.rows(WAIT, RENAMED, &[]).await?;
        let statements: Vec<String> = rows
            .iter()
            .map(|row| {
                let name = identifier(row.get(0));
                format!("ALTER DATABASE {name} RENAME TO {name}")
            })
            .collect();
        let waits = statements.iter().map(|sql| {
            let taken = &SqlState::DUPLICATE_DATABASE;
            self.control.postgres.refused(WAIT, sql, taken)
        });
        try_join_all(waits).await?;
        Ok(())
    }

    /// Parses what the pause will use.
    pub(super) async fn warm_up(&self) -> Result<(), ProviderError> {
        self.control
            .postgres
            .prepare("end its sessions", END)
            .await?;
        self.control.postgres.prepare(COUNT, ARRIVALS).await?;
        let databases = match self.control.powers.backend_wait() {
            BackendWait::Tablespace => TABLESPACES,
            BackendWait::Rename => RENAMED,
        };
        self.control
            .postgres
            .rows("list what is to be waited for", databases, &[])
            .await?;
        self.left(&[], Workers::End).await?;
        Ok(())
    }

    /// The sessions that "none left" counts. Looks at a server that have just begun or
    /// ended, or that are another process's, are waited for.
    pub(super) async fn left(
        &self,
        spare: &[ReverseSlot],
        workers: Workers,
    ) -> Result<Vec<Left>, ProviderError> {
        let deadline = Instant::now() + LOOKS_END_WITHIN;
        let one = |row: &Row| Left {
            description: row.get("description"),
            walsender: row.get("walsender"),
        };
        loop {
            let rows = self.look_for_sessions(spare, workers).await?;
            let is_passing = |row: &Row| row.get::<_, bool>("passing");
            if !rows.iter().any(is_passing) || Instant::now() >= deadline {
                return Ok(rows.iter().map(one).collect());
            }
            sleep(POLL).await;
        }
    }

    async fn look_for_sessions(
        &self,
        spare: &[ReverseSlot],
        workers: Workers,
    ) -> Result<Vec<Row>, ProviderError> {
        let slots: Vec<&str> = spare.iter().map(|slot| slot.slot.as_str()).collect();
        let params: Params<'_> = &[
            &self.control.own_pids(),
            &slots,
            &(workers == Workers::Spare),
            &self.control.powers.not_closable,
            &self.control.powers.superuser,
            &PASSING,
        ];
        let postgres = &self.control.postgres;
        postgres.rows("look for sessions", LEFT, params).await
    }
}

/// The fence comes when nobody is counted any more, so what is no count must not read as nobody.
fn count(
    server: &ServerName,
    column: &str,
    found: Result<i64, String>,
) -> Result<u64, ProviderError> {
    let count = found.and_then(|found| {
        u64::try_from(found).map_err(|_| format!("{column} is {found}, which is no count"))
    });
    count.map_err(|reason| ProviderError::Failed {
        server: server.clone(),
        what: COUNT.to_owned(),
        reason,
    })
}

/// Authentication is a part of a backend's first transaction, which has its lock from the
/// beginning. Up to PostgreSQL 17 `pg_stat_activity` shows the backend only behind it; from 18 on
/// as `starting`, without a database. What starts without a client is gone at the next look.
const ARRIVALS: &str = "WITH shown AS MATERIALIZED \
       (SELECT pid, datname, backend_type, backend_start, state FROM pg_stat_activity) \
     SELECT (SELECT count(DISTINCT l.pid) FROM pg_locks l LEFT JOIN shown s USING (pid) \
         WHERE l.locktype = 'virtualxid' AND l.pid IS NOT NULL AND (s.pid IS NULL \
           OR (s.backend_type = 'client backend' AND s.state = 'starting'))) AS logging_in, \
       count(*) FILTER (WHERE datname = ANY ($4)) AS logged_in, \
       count(*) FILTER (WHERE backend_start > to_timestamp($1::float8 / 1000)) AS newcomers \
     FROM shown WHERE backend_type = 'client backend' AND datname IS NOT NULL \
       AND state IS DISTINCT FROM 'starting' AND pid <> ALL ($2) AND datname <> ALL ($3)";

const COUNT: &str = "count who comes in";

const WAIT: &str = "wait out starting sessions";

const TABLESPACES: &str = "SELECT d.datname::text, t.spcname::text FROM pg_database d \
     JOIN pg_tablespace t ON t.oid = d.dattablespace \
     WHERE NOT d.datallowconn AND d.datname <> 'postgres'";

const RENAMED: &str = "SELECT datname::text FROM pg_database \
     WHERE (NOT datallowconn OR datname = 'postgres') AND pg_has_role(datdba, 'USAGE')";

/// A walsender with a database runs plain SQL as well, so it counts as a writer; the one
/// that serves a spared slot does not while it streams. A background worker shows its own
/// name as `backend_type`, so no list of types is complete: everything with a database
/// counts. Sessions in databases that cannot be closed do not: nobody can keep them out.
macro_rules! left {
    ($columns:expr) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM pg_stat_activity a WHERE a.datname IS NOT NULL AND a.pid <> ALL ($1) \
              AND a.datname <> ALL ($4) AND a.backend_type IS DISTINCT FROM 'autovacuum worker' \
              AND NOT EXISTS (SELECT FROM pg_replication_slots s \
                JOIN pg_stat_replication r ON r.pid = s.active_pid \
                WHERE s.active_pid = a.pid AND s.slot_name = ANY ($2) AND r.state = 'streaming') \
              AND NOT ($3 AND EXISTS (SELECT FROM pg_stat_subscription w \
                WHERE w.pid = a.pid AND w.subname = 'pointsman_rb'))"
        )
    };
}

/// Only a superuser ends the sessions of superusers, and those without a role.
/// <https://www.postgresql.org/docs/current/functions-admin.html>
macro_rules! may_end {
    ($superuser:literal) => {
        concat!(
            "(",
            $superuser,
            " OR EXISTS (SELECT FROM pg_roles r WHERE r.oid = a.usesysid AND NOT r.rolsuper))"
        )
    };
}

macro_rules! description {
    ($superuser:literal) => {
        concat!(
            "format('%s %s of %s in %s (pid %s%s)%s', a.backend_type, \
               coalesce(a.application_name, ''), a.usename, a.datname, a.pid, \
               CASE WHEN a.client_addr IS NOT NULL THEN ', from ' || host(a.client_addr) \
                 WHEN a.client_port = -1 THEN ', from a Unix socket' END, CASE WHEN NOT ",
            may_end!($superuser),
            " THEN ', which only a superuser may end' END) AS description"
        )
    };
}

/// A name may be anybody's, the control role may not.
const LEFT: &str = left!(concat!(
    description!("$5"),
    ", coalesce(a.application_name, '') = $6 AND a.usename = session_user AS passing, \
      a.backend_type = 'walsender' AS walsender"
));

/// An attempt to subscribe that was given up may run on: only the client's end has gone.
macro_rules! gives_up {
    () => {
        concat!(
            "coalesce(a.usename = session_user AND ",
            runs_with_secret!("a."),
            ", false)"
        )
    };
}

const END: &str = left!(concat!(
    "a.pid, ",
    description!("$6"),
    ", ",
    may_end!("$6"),
    " AS may_end, ",
    gives_up!(),
    " AS cancelled, CASE WHEN ",
    gives_up!(),
    " THEN pg_cancel_backend(a.pid) WHEN a.pid <> ALL ($5) AND ",
    may_end!("$6"),
    " THEN pg_terminate_backend(a.pid) END"
));

const POLL: Duration = Duration::from_micros(500);

/// A look takes a few milliseconds, on a busy machine some dozens.
const LOOKS_END_WITHIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_count_is_an_error_and_not_nobody() {
        let blue = ServerName::new("blue").unwrap();
        assert_eq!(count(&blue, "newcomers", Ok(0)).unwrap(), 0);
        assert_eq!(count(&blue, "newcomers", Ok(7)).unwrap(), 7);
        for found in [Ok(-1), Err("column \"newcomers\" is null".to_owned())] {
            let refused = count(&blue, "newcomers", found).unwrap_err().to_string();
            assert!(
                refused.contains("server blue: count who comes in failed")
                    && refused.contains("newcomers"),
                "{refused}"
            );
        }
    }
}
