use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::PgLsn;

use super::{
    control_sessions::ControlSessions,
    session::{Params, Session},
    slots,
    text::literal,
};
use crate::{
    Lsn,
    ports::{ProviderError, Replay, Replication, StandbyLink, StandbysSet, Synchronous, Synchrony},
};

/// Physical replication, as functions and settings of a server show it.
#[derive(Debug)]
pub(super) struct SqlReplication {
    control: Arc<ControlSessions>,
}

impl SqlReplication {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self { control }
    }
}

#[async_trait]
impl Replication for SqlReplication {
    async fn replay(&self) -> Result<Replay, ProviderError> {
        let row = self
            .control
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

    async fn await_replay(&self, lsn: Lsn, within: Duration) -> Result<Replay, ProviderError> {
        let deadline = Instant::now() + within;
        loop {
            let replay = self.replay().await?;
            if !replay.in_recovery || replay.replayed >= lsn {
                return Ok(replay);
            }
            if Instant::now() >= deadline {
                let found = format!("it is at {}", replay.replayed);
                return Err(self
                    .control
                    .timed_out(&format!("replay up to {lsn}"), within, found));
            }
            sleep(POLL).await;
        }
    }

    async fn standby_link(&self) -> Result<StandbyLink, ProviderError> {
        let row = self
            .control
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

    async fn cut_off_standby(&self, slot: &str) -> Result<(), ProviderError> {
        slots::drop_named(&self.control, &[slot.to_owned()]).await
    }

    async fn other_standbys(&self, slot: Option<&str>) -> Result<Vec<String>, ProviderError> {
        let what = "list its standbys";
        let rows = self.control.postgres.rows(what, STANDBYS, &[&slot]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn synchronous(&self) -> Result<Synchronous, ProviderError> {
        synchronous(&self.control.postgres).await
    }

    async fn has_connected(&self, names: &str) -> Result<bool, ProviderError> {
        let what = "look for the standbys that its commits waited for";
        let row = self
            .control
            .postgres
            .row(what, CONNECTED, &[&names])
            .await?;
        Ok(row.get(0))
    }

    async fn wait_for_standbys(&self, names: &str) -> Result<(), ProviderError> {
        self.set(&wait_for_standbys(names)).await
    }

    async fn standbys_set(&self) -> Result<StandbysSet, ProviderError> {
        let what = "read who has set which standbys its commits wait for";
        let row = self.control.postgres.row(what, STANDBYS_SET, &[]).await?;
        Ok(StandbysSet {
            by_alter_system: row.get(0),
        })
    }

    async fn put_standbys_back(&self, former: &StandbysSet) -> Result<(), ProviderError> {
        self.set(&put_standbys_back(former)).await
    }

    async fn synchrony(&self, standbys: &[String]) -> Result<Synchrony, ProviderError> {
        let what = "look how commits that wait get on";
        let params: Params<'_> = &[&standbys];
        let row = self.control.postgres.row(what, SYNCHRONY, params).await?;
        Ok(Synchrony {
            in_sync: row.get(0),
            longest_wait: Duration::try_from_secs_f64(row.get(1)).unwrap_or_default(),
        })
    }
}

impl SqlReplication {
    /// ALTER SYSTEM runs in no transaction, and with no other statement.
    async fn set(&self, alter_system: &str) -> Result<(), ProviderError> {
        let what = "change which standbys its commits wait for";
        for statement in [alter_system, "SELECT pg_reload_conf()"] {
            self.control.postgres.batch(what, statement).await?;
        }
        Ok(())
    }
}

/// Which standbys commits wait for, on the server of `session`.
pub(super) async fn synchronous(session: &Session) -> Result<Synchronous, ProviderError> {
    let what = "read which standbys its commits wait for";
    let row = session.row(what, SYNCHRONOUS, &[]).await?;
    Ok(Synchronous {
        names: row.get(0),
        enough: row.get(1),
    })
}

/// Sets them; a reload follows.
pub(super) fn wait_for_standbys(names: &str) -> String {
    let names = literal(names);
    format!("ALTER SYSTEM SET synchronous_standby_names = {names}")
}

/// Puts back what an earlier one had set; a reload follows.
pub(super) fn put_standbys_back(former: &StandbysSet) -> String {
    former.by_alter_system.as_ref().map_or_else(
        || "ALTER SYSTEM RESET synchronous_standby_names".to_owned(),
        |names| wait_for_standbys(names),
    )
}

/// Where a setting stands is shown to superusers and to members of pg_read_all_settings alone: without
/// that, what some file says is put back by its value.
const STANDBYS_SET: &str = "SELECT CASE WHEN source = 'configuration file' \
       AND coalesce(sourcefile LIKE '%/postgresql.auto.conf', true) THEN setting END \
     FROM pg_settings WHERE name = 'synchronous_standby_names'";

/// A standby of a priority that is not used is 'potential'.
/// <https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-REPLICATION-VIEW>
const SYNCHRONY: &str = "SELECT \
       (SELECT count(DISTINCT application_name) FROM pg_stat_replication \
         WHERE application_name = ANY ($1) AND state = 'streaming' AND sync_state = 'sync') \
         = cardinality($1::text[]), \
       coalesce((SELECT extract(epoch FROM max(clock_timestamp() - state_change)) \
         FROM pg_stat_activity WHERE wait_event = 'SyncRep'), 0)::float8";

/// Backups and archivers report no replay.
const STANDBYS: &str = "SELECT DISTINCT r.application_name \
     FROM pg_stat_replication r LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid \
     WHERE r.replay_lsn IS NOT NULL AND s.datoid IS NULL \
       AND s.slot_name IS DISTINCT FROM $1::text ORDER BY 1";

/// `FIRST n (…)`, `ANY n (…)`, `n (…)`, or a list, which wants one.
/// <https://www.postgresql.org/docs/current/runtime-config-replication.html>
const SYNCHRONOUS: &str = "SELECT current_setting('synchronous_standby_names') AS names, \
       (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) \
         >= coalesce((regexp_match(current_setting('synchronous_standby_names'), \
           '^ *(?:first|any)? *([0-9]+) *[(]', 'i'))[1]::int, 1)";

/// The same of names that are not in force. The reverse stream's subscribers are no standbys.
const CONNECTED: &str = "WITH wanted AS ( \
       SELECT coalesce(m[1]::int, 1) AS n, \
         string_to_array(lower(coalesce(m[2], $1::text)), ',') AS names \
       FROM (SELECT regexp_match($1::text, \
         '^ *(?:first|any)? *([0-9]+) *[(](.*)[)] *$', 'i') AS m) AS parsed) \
     SELECT count(s.name) >= max(w.n) FROM wanted w LEFT JOIN ( \
       SELECT lower(r.application_name) AS name FROM pg_stat_replication r \
         JOIN pg_stat_activity a USING (pid) \
         WHERE a.datname IS NULL AND r.state = 'streaming' AND r.replay_lsn IS NOT NULL) s \
       ON EXISTS (SELECT FROM unnest(w.names) AS one (name) \
         WHERE btrim(one.name, ' \"') IN (s.name, '*'))";

const POLL: Duration = Duration::from_micros(500);
