//! The fence's own record, in database `postgres` of the server that it closes. It says which
//! migration closed the server and what to restore, also if the store is lost.

use std::time::Duration;

use pointsman_catalog::{Server, ServerName};
use tokio_postgres::Row;

use super::{
    connection::Connector,
    session::{Purpose, Session},
    statements::literal,
    text::number,
};
use crate::ports::{FenceRecord, ProviderError};

/// Made when a migration is started, so that closing needs no DDL. A row of
/// `pointsman.transactions` is written by each transaction of the engine's that a proof must not
/// count: its `xmin` is the id, and nobody can write another one.
pub(super) const CREATE: &str = "CREATE SCHEMA IF NOT EXISTS pointsman; \
     CREATE TABLE IF NOT EXISTS pointsman.fence (\
       server text PRIMARY KEY, \
       migration text NOT NULL, \
       epoch bigint NOT NULL, \
       timeline bigint NOT NULL, \
       former jsonb NOT NULL, \
       nologin text[] NOT NULL DEFAULT '{}', \
       closed_at timestamptz NOT NULL DEFAULT clock_timestamp(), \
       promoted_by_api boolean NOT NULL DEFAULT false, \
       promote_within_ms bigint NOT NULL); \
     CREATE TABLE IF NOT EXISTS pointsman.transactions (\
       what text NOT NULL, \
       at timestamptz NOT NULL DEFAULT clock_timestamp())";

/// Changes nothing, and needs the rights that keeping the record needs.
pub(super) const TOUCH: &str = "INSERT INTO pointsman.fence SELECT * FROM pointsman.fence WHERE false; \
     UPDATE pointsman.fence SET epoch = epoch WHERE false; DELETE FROM pointsman.fence WHERE false; \
     INSERT INTO pointsman.transactions SELECT * FROM pointsman.transactions WHERE false; \
     DELETE FROM pointsman.transactions WHERE false";

/// Replaces the record of this server, if there is one, and keeps its roles that lost LOGIN.
pub(super) fn write(record: &FenceRecord) -> Result<String, ProviderError> {
    let former = serde_json::to_string(&record.former).map_err(|error| ProviderError::Failed {
        server: record.server.clone(),
        what: "write down the former settings".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(format!(
        "INSERT INTO pointsman.fence (server, migration, epoch, timeline, former, promoted_by_api, \
           promote_within_ms) \
         VALUES ({}, {}, {}, {}, {}, {}, {}) \
         ON CONFLICT (server) DO UPDATE SET migration = excluded.migration, epoch = excluded.epoch, \
         timeline = excluded.timeline, former = excluded.former, \
         promoted_by_api = excluded.promoted_by_api, \
         promote_within_ms = excluded.promote_within_ms, \
         closed_at = clock_timestamp()",
        literal(record.server.as_str()),
        literal(&record.migration),
        record.epoch,
        record.timeline,
        literal(&former),
        record.promoted_by_api,
        record.promote_within.as_millis(),
    ))
}

/// Every record, the closed server's own and copies that came by replication.
pub(super) fn delete(migration: &str) -> String {
    format!(
        "DELETE FROM pointsman.fence WHERE migration = {}",
        literal(migration)
    )
}

/// Keeps the names of roles that lose LOGIN in this transaction.
pub(super) fn keep_logins(server: &ServerName, roles: &[String]) -> String {
    let roles: Vec<_> = roles.iter().map(|role| literal(role)).collect();
    format!(
        "UPDATE pointsman.fence SET nologin = ARRAY(SELECT DISTINCT role \
           FROM unnest(nologin || ARRAY[{}]::text[]) AS role ORDER BY 1) WHERE server = {}",
        roles.join(", "),
        literal(server.as_str())
    )
}

/// The roles that lost LOGIN since this server was closed.
pub(super) async fn kept_logins(
    session: &Session,
    server: &ServerName,
) -> Result<Vec<String>, ProviderError> {
    let what = "read which roles lost LOGIN";
    if !is_there(session, what).await? {
        return Ok(Vec::new());
    }
    let rows = session
        .rows(
            what,
            "SELECT DISTINCT unnest(nologin) AS role FROM pointsman.fence WHERE server = $1 \
             ORDER BY role",
            &[&server.as_str()],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn is_there(session: &Session, what: &str) -> Result<bool, ProviderError> {
    let sql = "SELECT to_regclass('pointsman.fence') IS NOT NULL";
    Ok(session.row(what, sql, &[]).await?.get(0))
}

/// The newest record on `server`, on a session of its own.
pub(super) async fn look_at(
    connector: &Connector,
    server: &Server,
) -> Result<Option<FenceRecord>, ProviderError> {
    let session = Session::open(connector, server, "postgres", &Purpose::Recovery).await?;
    Ok(read_all(&session).await?.into_iter().next())
}

/// The records on this server, newest first; empty where no migration ever was.
pub(super) async fn read_all(session: &Session) -> Result<Vec<FenceRecord>, ProviderError> {
    let what = "read the fence record";
    if !is_there(session, what).await? {
        return Ok(Vec::new());
    }
    let rows = session
        .rows(
            what,
            "SELECT server, migration, epoch, timeline, former::text, promoted_by_api, promote_within_ms \
             FROM pointsman.fence ORDER BY epoch DESC, closed_at DESC",
            &[],
        )
        .await?;
    let records = rows.iter().map(in_row).collect::<Result<_, String>>();
    records.map_err(|reason| ProviderError::Failed {
        server: session.server().clone(),
        what: what.to_owned(),
        reason,
    })
}

/// A record that cannot be read is no older one: whether its fence is a newer leader's is not
/// known then.
fn in_row(row: &Row) -> Result<FenceRecord, String> {
    let (server, migration): (String, String) = (row.get(0), row.get(1));
    let damaged = |reason: String| {
        format!(
            "the row of server {server} and migration {migration} in pointsman.fence is damaged: \
             {reason}; a person must look"
        )
    };
    Ok(FenceRecord {
        epoch: number("epoch", row.get(2)).map_err(damaged)?,
        timeline: number("timeline", row.get(3)).map_err(damaged)?,
        former: serde_json::from_str(row.get(4)).map_err(|error| damaged(error.to_string()))?,
        server: ServerName::new(server.as_str()).map_err(|error| damaged(error.to_string()))?,
        migration: migration.clone(),
        promoted_by_api: row.get(5),
        promote_within: number("promote_within_ms", row.get(6))
            .map(Duration::from_millis)
            .map_err(damaged)?,
    })
}
