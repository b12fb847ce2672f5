//! The fence's own record, in database `postgres` of the server that it closes: whoever
//! finds a closed server without any store can read there by whom, and what to restore.

use super::{session::Session, statements::literal};
use crate::ports::{FenceRecord, ProviderError};

/// Made when a migration is started, so that closing needs no DDL.
pub(super) const CREATE: &str = "CREATE SCHEMA IF NOT EXISTS pointsman; \
     CREATE TABLE IF NOT EXISTS pointsman.fence (\
       server text PRIMARY KEY, \
       migration text NOT NULL, \
       epoch bigint NOT NULL, \
       timeline bigint NOT NULL, \
       former jsonb NOT NULL, \
       closed_at timestamptz NOT NULL DEFAULT clock_timestamp())";

/// Takes the place of the record of this server, if there is one.
pub(super) fn write(record: &FenceRecord) -> Result<String, ProviderError> {
    let former = serde_json::to_string(&record.closed).map_err(|error| ProviderError::Failed {
        server: record.server.clone(),
        what: "write down the former settings".to_owned(),
        words: error.to_string(),
    })?;
    Ok(format!(
        "INSERT INTO pointsman.fence (server, migration, epoch, timeline, former) VALUES \
         ({}, {}, {}, {}, {}) ON CONFLICT (server) DO UPDATE SET migration = excluded.migration, \
         epoch = excluded.epoch, timeline = excluded.timeline, former = excluded.former, \
         closed_at = clock_timestamp()",
        literal(record.server.as_str()),
        literal(&record.migration),
        record.epoch,
        record.timeline,
        literal(&former),
    ))
}

/// Every record, the closed server's own and copies that came by replication.
pub(super) fn delete(migration: &str) -> String {
    format!(
        "DELETE FROM pointsman.fence WHERE migration = {}",
        literal(migration)
    )
}

/// The newest record on this server, or `None` where no migration ever was.
pub(super) async fn read(session: &Session) -> Result<Option<FenceRecord>, ProviderError> {
    let what = "read the fence record";
    let there = session
        .row(
            what,
            "SELECT to_regclass('pointsman.fence') IS NOT NULL",
            &[],
        )
        .await?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let rows = session
        .rows(
            what,
            "SELECT server, migration, epoch, timeline, former::text FROM pointsman.fence \
             ORDER BY epoch DESC, closed_at DESC LIMIT 1",
            &[],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let damaged = |words: String| ProviderError::Failed {
        server: session.server().clone(),
        what: what.to_owned(),
        words,
    };
    let number = |column: usize| u64::try_from(row.get::<_, i64>(column)).unwrap_or_default();
    Ok(Some(FenceRecord {
        migration: row.get(1),
        epoch: number(2),
        server: pointsman_catalog::ServerName::new(row.get::<_, String>(0))
            .map_err(|error| damaged(error.to_string()))?,
        timeline: u32::try_from(number(3)).unwrap_or_default(),
        closed: serde_json::from_str(row.get(4)).map_err(|error| damaged(error.to_string()))?,
    }))
}
