//! Who a server is, and whose sessions are on it.

use std::time::Duration;

use pointsman_catalog::{Server, UnixMillis};
use tokio::time::{Instant, sleep};

use super::{
    record,
    server::SqlServer,
    session::{Purpose, Session, control_prefix},
};
use crate::Lsn;
use crate::ports::{DatabaseSettings, Observation, ProviderError};

impl SqlServer {
    pub(super) async fn read_identity(&self) -> Result<Observation, ProviderError> {
        let mut observed = read(&self.postgres).await?;
        if !observed.in_recovery && observed.replayed.is_none() && observed.timeline > 1 {
            observed.replayed = self.read_fork(observed.timeline).await?;
        }
        Ok(observed)
    }

    /// Where this timeline began. A primary that was restarted since its promotion has
    /// forgotten where its recovery ended; the history file has not.
    async fn read_fork(&self, timeline: u32) -> Result<Option<Lsn>, ProviderError> {
        let path = format!("pg_wal/{timeline:08X}.history");
        let row = self
            .postgres
            .row(
                "read its timeline's history",
                "SELECT pg_read_file($1, 0, 1048576, true)",
                &[&path],
            )
            .await?;
        let history: Option<String> = row.get(0);
        Ok(history.as_deref().and_then(fork_in))
    }

    /// A fence of this migration at a newer epoch means that another engine drives it.
    pub(super) async fn refuse_newer_fence(&self) -> Result<(), ProviderError> {
        let records = record::read_all(&self.postgres).await?;
        let newer = records.into_iter().find(|found| {
            found.migration == self.control.migration && found.epoch > self.control.epoch
        });
        newer.map_or(Ok(()), |found| Err(self.superseded(found)))
    }

    /// Ends what an older epoch left, and sessions of this one that were given up, and waits
    /// until they are gone: nothing that was sent before can take effect after this.
    pub(super) async fn end_former_leader(&self) -> Result<(), ProviderError> {
        let prefix = control_prefix(&self.control);
        let deadline = Instant::now() + FORMER_LEADER;
        loop {
            let rows = self
                .postgres
                .rows(
                    "end the former leader's sessions",
                    FORMER_SESSIONS,
                    &[&prefix],
                )
                .await?;
            let mut left = 0;
            for row in &rows {
                let name: String = row.get(0);
                let epoch = name
                    .strip_prefix(&prefix)
                    .and_then(|epoch| epoch.parse().ok());
                if let Some(found) = epoch.filter(|&epoch: &u64| epoch > self.control.epoch) {
                    return Err(ProviderError::Superseded {
                        server: self.server.name.clone(),
                        migration: self.control.migration.clone(),
                        found,
                        own: self.control.epoch,
                    });
                }
                left += 1;
            }
            if left == 0 {
                return Ok(());
            }
            let pids: Vec<i32> = rows.iter().map(|row| row.get(1)).collect();
            let end = "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid";
            self.postgres
                .rows("end the former leader's sessions", end, &[&pids])
                .await?;
            if Instant::now() >= deadline {
                let found = format!("{left} are left");
                return Err(self.timed_out(
                    "the end of the former leader's sessions",
                    FORMER_LEADER,
                    found,
                ));
            }
            sleep(POLL).await;
        }
    }
}

/// What `server` says of itself, on a read-only session of its own.
pub(super) async fn look_at(server: &Server) -> Result<Observation, ProviderError> {
    let session = Session::open(server, "postgres", &Purpose::Preflight).await?;
    read(&session).await
}

/// The timeline of a primary is read from its insert position: right after a promotion
/// `pg_control_checkpoint()` still says the former one.
pub(super) async fn read(session: &Session) -> Result<Observation, ProviderError> {
    let (row, databases) = futures_util::future::try_join(
        session.row("observe it", IDENTITY, &[]),
        session.rows("list its databases", DATABASES, &[]),
    )
    .await?;
    let timeline: String = row.get("timeline");
    let position: Option<tokio_postgres::types::PgLsn> = row.get("position");
    let replayed: Option<tokio_postgres::types::PgLsn> = row.get("replayed");
    Ok(Observation {
        system_identifier: row.get("system_identifier"),
        timeline: u32::from_str_radix(&timeline, 16).unwrap_or_default(),
        in_recovery: row.get("in_recovery"),
        position: position.map(|lsn| Lsn(lsn.into())).unwrap_or_default(),
        replayed: replayed.map(|lsn| Lsn(lsn.into())),
        version: u32::try_from(row.get::<_, i32>("version")).unwrap_or_default(),
        clock: UnixMillis(u64::try_from(row.get::<_, i64>("clock_ms")).unwrap_or_default()),
        databases: databases
            .iter()
            .map(|row| DatabaseSettings {
                datname: row.get("datname"),
                oid: row.get("oid"),
                allow_connections: row.get("datallowconn"),
                connection_limit: row.get("datconnlimit"),
                is_template: row.get("datistemplate"),
            })
            .collect(),
    })
}

/// The switch point in the last line of a history file: `TIMELINE LSN REASON`.
/// <https://www.postgresql.org/docs/current/continuous-archiving.html>
fn fork_in(history: &str) -> Option<Lsn> {
    let last = history
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with('#'))?;
    last.split_whitespace().nth(1)?.parse().ok()
}

const IDENTITY: &str = "SELECT \
     (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier, \
     pg_is_in_recovery() AS in_recovery, \
     CASE WHEN pg_is_in_recovery() \
       THEN (SELECT lpad(to_hex(timeline_id), 8, '0') FROM pg_control_checkpoint()) \
       ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline, \
     CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
       ELSE pg_current_wal_insert_lsn() END AS position, \
     pg_last_wal_replay_lsn() AS replayed, \
     current_setting('server_version_num')::int AS version, \
     (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS clock_ms";

const DATABASES: &str = "SELECT datname::text, oid, datallowconn, datconnlimit, datistemplate \
     FROM pg_database ORDER BY datname";

const FORMER_SESSIONS: &str = "SELECT application_name, pid FROM pg_stat_activity \
     WHERE starts_with(application_name, $1) AND usename = current_user \
       AND pid <> pg_backend_pid()";

/// A backend that was told to end does so at its next look, within milliseconds.
const FORMER_LEADER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_says_where_its_timeline_began() {
        let history = "1\t0/3000000\tno recovery target specified\n\n2\t0/3097A90\tbefore x\n";
        assert_eq!(fork_in(history), "0/3097A90".parse().ok());
        assert_eq!(fork_in(""), None);
    }
}
