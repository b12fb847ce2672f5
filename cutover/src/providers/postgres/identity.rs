//! Which server a session has reached.

use std::sync::Arc;

use async_trait::async_trait;
use pointsman_catalog::{Server, UnixMillis};
use tokio_postgres::types::PgLsn;

use super::{
    connection::Connector,
    control_sessions::ControlSessions,
    session::{Purpose, Session},
    text::number,
};
use crate::{
    Lsn,
    ports::{DatabaseSettings, LeftTimeline, Observation, Observe, ProviderError},
};

/// Observes a server over its control session.
#[derive(Clone, Debug)]
pub(super) struct SqlIdentity {
    control: Arc<ControlSessions>,
}

impl SqlIdentity {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self { control }
    }

    /// Where this timeline began. A primary that was restarted since its promotion has
    /// forgotten where its recovery ended; the history file has not.
    async fn read_fork(&self, timeline: u32) -> Result<Option<Lsn>, ProviderError> {
        let history = self.read_history(timeline).await?;
        Ok(history.as_deref().and_then(fork_in))
    }

    /// The history file of `timeline`. A role that may not read files does not learn it.
    async fn read_history(&self, timeline: u32) -> Result<Option<String>, ProviderError> {
        if !self.control.powers.read_files {
            return Ok(None);
        }
        let path = format!("pg_wal/{timeline:08X}.history");
        let row = self
            .control
            .postgres
            .row(
                "read its timeline's history",
                "SELECT pg_read_file($1, 0, $2, true)",
                &[&path, &LONGEST_HISTORY],
            )
            .await?;
        let history: Option<String> = row.get(0);
        match history.filter(|history| is_cut(history)) {
            None => Ok(row.get(0)),
            Some(_) => Err(ProviderError::Failed {
                server: self.control.server.name.clone(),
                what: format!("reading {path}"),
                reason: format!("it is longer than {LONGEST_HISTORY} bytes"),
            }),
        }
    }
}

#[async_trait]
impl Observe for SqlIdentity {
    async fn observe(&self) -> Result<Observation, ProviderError> {
        let mut observed = read(&self.control.postgres).await?;
        if !observed.in_recovery && observed.replayed.is_none() && observed.timeline > 1 {
            observed.replayed = self.read_fork(observed.timeline).await?;
        }
        Ok(observed)
    }

    async fn left_timeline(&self, timeline: u32) -> Result<LeftTimeline, ProviderError> {
        let own = read(&self.control.postgres).await?.timeline;
        let history = self.read_history(own).await?;
        Ok(history.map_or(LeftTimeline::NotKnown, |history| {
            left_in(&history, timeline)
        }))
    }
}

/// What `server` says of itself, on a read-only session of its own.
pub(super) async fn look_at(
    connector: &Connector,
    server: &Server,
) -> Result<Observation, ProviderError> {
    let session = Session::open(connector, server, "postgres", &Purpose::Preflight).await?;
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
    let unread = |reason: String| ProviderError::Failed {
        server: session.server().clone(),
        what: "observe it".to_owned(),
        reason,
    };
    let timeline: String = row.get("timeline");
    let position: Option<PgLsn> = row.get("position");
    let replayed: Option<PgLsn> = row.get("replayed");
    let version = row.get::<_, i32>("version").into();
    Ok(Observation {
        system_identifier: row.get("system_identifier"),
        timeline: timeline_in(&timeline).map_err(unread)?,
        in_recovery: row.get("in_recovery"),
        position: position_in(position).map_err(unread)?,
        replayed: replayed.map(|lsn| Lsn(lsn.into())),
        version: number("version", version).map_err(unread)?,
        clock: UnixMillis(number("clock", row.get("clock_ms")).map_err(unread)?),
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

/// The timeline in the first eight digits of a WAL file's name. The first timeline is 1.
fn timeline_in(digits: &str) -> Result<u32, String> {
    match u32::from_str_radix(digits, 16) {
        Ok(timeline) if timeline > 0 => Ok(timeline),
        Ok(_) | Err(_) => Err(format!("{digits:?} is no timeline")),
    }
}

fn position_in(lsn: Option<PgLsn>) -> Result<Lsn, String> {
    let lsn = lsn.ok_or("it does not say its position in the WAL")?;
    Ok(Lsn(lsn.into()))
}

/// Whether a history file was not read to its end.
fn is_cut(history: &str) -> bool {
    usize::try_from(LONGEST_HISTORY).is_ok_and(|longest| history.len() >= longest)
}

/// The lines of a history file, `TIMELINE LSN REASON`, oldest first.
/// <https://www.postgresql.org/docs/current/continuous-archiving.html>
fn switch_points(history: &str) -> impl DoubleEndedIterator<Item = (&str, Option<Lsn>)> {
    let lines = history.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let mut fields = line.split_whitespace();
        let timeline = fields.next().unwrap_or_default();
        (timeline, fields.next().and_then(|point| point.parse().ok()))
    })
}

/// The switch point in the last line. A file that is not whole has another last line.
fn fork_in(history: &str) -> Option<Lsn> {
    switch_points(history).next_back()?.1
}

/// The switch point in the line of `timeline`.
fn left_in(history: &str, timeline: u32) -> LeftTimeline {
    let timeline = timeline.to_string();
    match switch_points(history).find(|(left, _)| *left == timeline) {
        None => LeftTimeline::Never,
        Some((_, point)) => point.map_or(LeftTimeline::NotKnown, LeftTimeline::At),
    }
}

/// One line a promotion: some 20,000 of them.
const LONGEST_HISTORY: i64 = 1 << 20;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_says_where_its_timeline_began() {
        let history = "1\t0/3000000\tno recovery target specified\n\n2\t0/3097A90\tbefore x\n";
        assert_eq!(fork_in(history), "0/3097A90".parse().ok());
        assert_eq!(fork_in(""), None);
    }

    #[test]
    fn a_history_file_says_where_each_timeline_was_left_and_which_was_never_one() {
        let history =
            "1\t0/3000000\tno recovery target specified\n\n2\t0/3097A90\tbefore x\n3\t?\n";
        let at = |lsn: &str| LeftTimeline::At(lsn.parse().unwrap());
        assert_eq!(left_in(history, 1), at("0/3000000"));
        assert_eq!(left_in(history, 2), at("0/3097A90"));
        assert_eq!(left_in(history, 3), LeftTimeline::NotKnown);
        assert_eq!(left_in(history, 4), LeftTimeline::Never);
    }

    #[test]
    fn a_history_that_was_not_read_to_its_end_says_nothing() {
        let line = "1\t0/3000000\tno recovery target specified\n";
        let longest = usize::try_from(LONGEST_HISTORY).unwrap();
        let mut cut = line.repeat(longest / line.len() + 1);
        cut.truncate(longest);
        assert!(is_cut(&cut) && !is_cut(line));
    }

    #[test]
    fn a_timeline_that_cannot_be_read_is_an_error_and_not_zero() {
        assert_eq!(timeline_in("0000001A"), Ok(26));
        for damaged in ["", "0000000G", "00000000", "100000000"] {
            let error = timeline_in(damaged).unwrap_err();
            assert_eq!(error, format!("{damaged:?} is no timeline"));
        }
    }

    #[test]
    fn a_position_that_is_not_said_is_an_error_and_not_the_beginning() {
        assert_eq!(position_in(Some(7.into())), Ok(Lsn(7)));
        let error = position_in(None).unwrap_err();
        assert_eq!(error, "it does not say its position in the WAL");
    }
}
