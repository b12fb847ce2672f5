//! Positions in the write-ahead log, and what stands between them.

use tokio_postgres::types::PgLsn;

use super::{server::SqlServer, statements::literal};
use crate::{
    Lsn,
    ports::{Exempt, Marker, ProviderError, UserCommits},
};

impl SqlServer {
    /// The marker's record ends at the returned position; its commit follows, before `after`.
    pub(super) async fn write_marker(
        &self,
        id: &str,
        datnames: &[String],
    ) -> Result<Marker, ProviderError> {
        let emit = format!(
            "SELECT pg_logical_emit_message(true, 'pointsman.fence', {})",
            literal(id)
        );
        let what = "write the fence marker";
        let mut lsn = Lsn::default();
        if datnames.is_empty() {
            lsn = parse(self, what, &self.postgres.batch(what, &emit).await?)?;
        }
        for datname in datnames {
            let session = self.database(datname)?;
            lsn = lsn.max(parse(self, what, &session.batch(what, &emit).await?)?);
        }
        let row = self
            .postgres
            .row(what, "SELECT pg_current_wal_insert_lsn()", &[])
            .await?;
        let after: PgLsn = row.get(0);
        Ok(Marker {
            lsn,
            after: Lsn(after.into()),
        })
    }

    /// A user commit is the commit of a transaction, or of a subtransaction, that wrote rows
    /// or a sequence of any relation that is not exempt. Commits that carry an origin are the
    /// reverse stream's.
    pub(super) async fn count_user_commits(
        &self,
        since: Lsn,
        exempt: &Exempt,
    ) -> Result<UserCommits, ProviderError> {
        let what = "prove from WAL that nobody wrote";
        let row = self
            .postgres
            .row(what, "SELECT pg_current_wal_flush_lsn()", &[])
            .await?;
        let through: PgLsn = row.get(0);
        // A start at or past the flush position is an error: nothing was written there yet.
        if u64::from(through) <= since.0 {
            return Ok(UserCommits {
                count: 0,
                through: Lsn(through.into()),
            });
        }
        let xids: Vec<String> = exempt
            .xids
            .iter()
            .map(|xid| (xid & u64::from(u32::MAX)).to_string())
            .collect();
        let row = self
            .postgres
            .row(
                what,
                USER_COMMITS,
                &[&PgLsn::from(since.0), &through, &exempt.filenodes, &xids],
            )
            .await?;
        Ok(UserCommits {
            count: u64::try_from(row.get::<_, i64>(0)).unwrap_or_default(),
            through: Lsn(through.into()),
        })
    }

    /// The first use of an extension's functions in a session loads them; that must not
    /// happen inside the pause.
    pub(super) async fn warm_up(&self) -> Result<(), ProviderError> {
        let there = self
            .postgres
            .row(
                "look for pg_walinspect",
                "SELECT NOT pg_is_in_recovery() \
                   AND EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_walinspect')",
                &[],
            )
            .await?;
        if there.get::<_, bool>(0) {
            let row = self
                .postgres
                .row(
                    "read its position",
                    "SELECT pg_current_wal_flush_lsn() - 65536::numeric",
                    &[],
                )
                .await?;
            let near: PgLsn = row.get(0);
            self.count_user_commits(Lsn(near.into()), &Exempt::default())
                .await?;
        }
        Ok(())
    }
}

fn parse(server: &SqlServer, what: &str, rows: &[String]) -> Result<Lsn, ProviderError> {
    let lsn = rows.first().and_then(|row| row.parse().ok());
    lsn.ok_or_else(|| ProviderError::Failed {
        server: server.server.name.clone(),
        what: what.to_owned(),
        words: "the server returned no position".to_owned(),
    })
}

/// `block_ref` names the relation as `rel tablespace/database/filenode`; TRUNCATE has none.
/// <https://www.postgresql.org/docs/current/pgwalinspect.html>
const USER_COMMITS: &str = "WITH records AS MATERIALIZED ( \
       SELECT resource_manager AS manager, record_type AS type, xid::text AS xid, description, \
              block_ref \
       FROM public.pg_get_wal_records_info($1, $2) \
       WHERE resource_manager IN ('Heap', 'Heap2', 'Sequence', 'Transaction')), \
     writers AS ( \
       SELECT DISTINCT xid FROM records \
       WHERE (manager = 'Sequence' \
           OR (manager IN ('Heap', 'Heap2') \
             AND type ~ '^(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE|TRUNCATE)')) \
         AND coalesce(substring(block_ref FROM 'rel (\\d+/\\d+/\\d+)'), '') <> ALL ($3) \
         AND xid <> ALL ($4)), \
     commits AS ( \
       SELECT xid, description, \
         coalesce(substring(description FROM 'subxacts:([ 0-9]*)'), '') AS subxacts \
       FROM records WHERE manager = 'Transaction' AND type LIKE 'COMMIT%' \
         AND description !~ 'origin: node') \
     SELECT count(*) FROM commits c WHERE c.xid <> ALL ($4) AND EXISTS ( \
       SELECT FROM writers w WHERE w.xid = c.xid \
         OR w.xid = ANY (string_to_array(trim(c.subxacts), ' ')))";
