//! Who wrote on a server that is watched, where its WAL cannot be read and each commit has its
//! origin: `track_commit_timestamp`.
//! <https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-COMMIT-TIMESTAMP>

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use super::{
    account::AUTOVACUUM,
    look::failed,
    own::{OWN, Own, low},
    transaction_ids::ByTransactionIds,
};
use crate::ports::{IdReach, ProviderError, UserCommit, UserWrites, WalReach, WatchMethod};

/// What a stretch of ids says.
#[derive(Debug, Default)]
struct Found {
    /// Not ended.
    open: Vec<u64>,
    /// Committed under an origin that is not the reverse stream's; 0 is none, `None` not known.
    others: Vec<(u64, Option<u32>)>,
}

impl ByTransactionIds {
    /// See [`WalProof::user_writes`](crate::ports::WalProof). `None` where the server keeps no
    /// origins, or was not looked at by ids before.
    ///
    /// An id that is committed was so before the snapshot that says where ids end, or is looked at
    /// next time. It has its origin before it counts as committed.
    pub(super) async fn writes(
        &self,
        since: &WalReach,
        moving: &[String],
        within: Duration,
    ) -> Result<Option<UserWrites>, ProviderError> {
        let Some(reach) = &since.ids else {
            return Ok(None);
        };
        let deadline = Instant::now() + within;
        let postgres = &self.control.postgres;
        let rows = postgres.batch(WATCH, &beginning()).await?;
        let [tracked, end, doubtful, own] = rows.as_slice() else {
            return Err(failed(
                &self.control.server.name,
                WATCH,
                "where its ids end cannot be read",
            ));
        };
        if tracked != "on" {
            return Ok(None);
        }
        let unread = || {
            failed(
                &self.control.server.name,
                WATCH,
                format!("its ids end at {end:?}"),
            )
        };
        let end: u64 = end.parse().map_err(|_| unread())?;
        let current = Own::parse(&self.control, WATCH, Some(own))?.origins;
        let mut origins = current.clone();
        origins.extend(&since.origins);
        let mut found = self
            .look(&reach.open, reach.next..reach.next, &origins)
            .await?;
        let mut next = reach.next;
        while next < end && Instant::now() < deadline {
            let stretch = next..end.min(next.saturating_add(STRETCH));
            next = stretch.end;
            let more = self.look(&[], stretch, &origins).await?;
            found.open.extend(more.open);
            found.others.extend(more.others);
        }
        let strangers = self.strangers(found.others, moving).await?;
        // Without an origin it may be an automatic ANALYZE, or somebody in a database that cannot be
        // closed; under another one it is neither.
        let is_told = |origin: Option<u32>| match origin {
            None => false,
            Some(0) => doubtful == "false",
            Some(_) => true,
        };
        let (told, untold): (Vec<_>, Vec<_>) = strangers
            .into_iter()
            .partition(|(_, origin)| is_told(*origin));
        let origins = if next < end { origins } else { current };
        Ok(Some(UserWrites {
            by: WatchMethod::CommitOrigins,
            through: WalReach {
                lsn: since.lsn,
                open: Vec::new(),
                origins: origins.into_iter().collect(),
                ids: Some(IdReach {
                    next,
                    open: found.open,
                }),
            },
            unread: end.saturating_sub(next),
            commits: told.into_iter().map(|(xid, _)| commit(xid)).collect(),
            untold: untold.into_iter().map(|(xid, _)| xid).collect(),
        }))
    }

    async fn look(
        &self,
        open: &[u64],
        ids: std::ops::Range<u64>,
        origins: &BTreeSet<u32>,
    ) -> Result<Found, ProviderError> {
        if open.is_empty() && ids.is_empty() {
            return Ok(Found::default());
        }
        let open: Vec<i64> = open.iter().map(|id| signed(*id)).collect();
        let (first, last) = (signed(ids.start), signed(ids.end) - 1);
        let origins: Vec<i64> = origins.iter().map(|origin| i64::from(*origin)).collect();
        let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
            &[&open, &first, &last, &origins];
        let rows = self.control.postgres.rows(WATCH, ORIGINS, params).await?;
        let mut found = Found::default();
        for row in &rows {
            let id = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
            if row.get(1) {
                found.open.push(id);
            } else {
                let origin = row.get::<_, Option<i64>>(2);
                let origin = origin.and_then(|origin| u32::try_from(origin).ok());
                found.others.push((id, origin));
            }
        }
        Ok(found)
    }

    /// Those of `others` that are not the engine's. In the databases that move it has vouched for its
    /// transactions in a table of each.
    async fn strangers(
        &self,
        mut others: Vec<(u64, Option<u32>)>,
        moving: &[String],
    ) -> Result<Vec<(u64, Option<u32>)>, ProviderError> {
        if others.is_empty() {
            return Ok(others);
        }
        let postgres = &self.control.postgres;
        let own = postgres.batch(WATCH, OWN).await?;
        let own = Own::parse(&self.control, WATCH, own.first())?.xids;
        others.retain(|(id, _)| !own.contains(&low(id)));
        if others.is_empty() {
            return Ok(others);
        }
        self.control.open_databases(moving).await?;
        for datname in moving {
            let session = self.control.database(datname)?;
            let rows = session.rows(WATCH, OWN_IN_DATABASE, &[]).await?;
            let own: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
            others.retain(|(id, _)| !own.contains(&low(id)));
        }
        Ok(others)
    }
}

fn commit(xid: u64) -> UserCommit {
    let low = xid & u64::from(u32::MAX);
    UserCommit {
        xid: u32::try_from(low).unwrap_or(u32::MAX),
        databases: Vec::new(),
    }
}

/// As a server counts; it gives out no id that is larger.
fn signed(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

const WATCH: &str = "look who wrote";

/// Whether origins are kept, where the ids of what has ended end, and whether an id without origin
/// may be an automatic ANALYZE's, or of a database that cannot be closed.
fn beginning() -> String {
    format!(
        "SELECT current_setting('track_commit_timestamp'); \
         SELECT pg_snapshot_xmax(pg_current_snapshot())::text; \
         SELECT ({AUTOVACUUM} OR EXISTS (SELECT FROM pg_database \
           WHERE datallowconn AND NOT pg_has_role(datdba, 'USAGE')))::text; {OWN}"
    )
}

/// The ids of `$1` and from `$2` to `$3` whose transactions were committed under none of the origins
/// `$4`, or have not ended. A prepared one has not ended.
const ORIGINS: &str = "WITH asked (id) AS MATERIALIZED ( \
       SELECT unnest($1::bigint[]) UNION ALL SELECT generate_series($2::bigint, $3::bigint)), \
     ended AS MATERIALIZED ( \
       SELECT id, pg_xact_status(id::text::xid8) AS status FROM asked), \
     told AS MATERIALIZED ( \
       SELECT id, coalesce(status, '') AS status, CASE status WHEN 'committed' THEN \
         (pg_xact_commit_timestamp_origin((id & 4294967295)::text::xid)).roident::bigint END AS origin \
       FROM ended) \
     SELECT id, status = 'in progress', origin FROM told \
     WHERE status <> 'aborted' AND (origin IS NULL OR origin <> ALL ($4::bigint[]))";

/// The table is made when a migration starts.
const OWN_IN_DATABASE: &str = "SELECT xmin::text FROM pointsman.transactions";

/// So many ids are asked for at once.
const STRETCH: u64 = 20_000;
