use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_postgres::types::PgLsn;

use super::{
    super::{control_sessions::ControlSessions, statements::identifier},
    look::{emit, take, written},
    own::{OWN, Own, low},
    transactions::{Commit, Found, Judged},
};
use crate::{
    Lsn,
    ports::{Exempt, Finding, Look, ProofMethod, ProviderError, Strangers, WriteProof},
};

/// Reads WAL by `pg_walinspect`.
#[derive(Debug)]
pub(super) struct ByWalRecords {
    pub(super) control: Arc<ControlSessions>,
    /// The statement that reads WAL, once it has worked.
    reader: Mutex<Option<String>>,
}

impl ByWalRecords {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self {
            control,
            reader: Mutex::default(),
        }
    }

    /// Whether the extension is there, may be used, and reads: its library can be missing on
    /// one of two servers. On a standby WAL can be read as well.
    pub(super) async fn can_read(&self) -> Result<bool, ProviderError> {
        let what = "look for pg_walinspect";
        let rows = self.control.postgres.rows(what, WALINSPECT, &[]).await?;
        let schema: Option<String> = rows.first().map(|row| row.get(0));
        let reader = schema.map(|schema| READ_WAL.replace("SCHEMA", &identifier(&schema)));
        let reader = match reader {
            Some(reader) if self.reads(what, &reader).await? => Some(reader),
            Some(_) | None => None,
        };
        let found = reader.is_some();
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = reader;
        Ok(found)
    }

    /// Reads from the last checkpoint, whose WAL every server keeps.
    async fn reads(&self, what: &str, reader: &str) -> Result<bool, ProviderError> {
        let row = self.control.postgres.row(what, KEPT_WAL, &[]).await?;
        let (begin, end): (PgLsn, PgLsn) = (row.get(0), row.get(1));
        let (begin, end) = (lsn_of(begin), lsn_of(end));
        let end = end.min(Lsn(begin.0.saturating_add(WARM_UP)));
        let nothing = NotCounted {
            exempt: &Exempt::default(),
            origins: &BTreeSet::new(),
        };
        match self.read_wal(what, reader, begin, end, nothing).await {
            Ok(_) => Ok(true),
            Err(ProviderError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn prove(
        &self,
        since: &Look,
        exempt: &Exempt,
    ) -> Result<WriteProof, ProviderError> {
        // Only what is flushed can be read, and a commit without `synchronous_commit` may be
        // acknowledged and not flushed: the look flushes everything before it.
        let message = ("pointsman.proof", "");
        let question = Some(OWN.to_owned());
        let (through, answer) = take(&self.control, PROVE, message, question).await?;
        let mut own = Own::parse(&self.control, PROVE, answer.as_ref())?;
        own.xids.extend(since.own.iter().map(low));
        let open = since.open.iter().map(low).collect();
        let (count, elsewhere) = self
            .read((since.lsn, Some(&open)), through.lsn, exempt, &own)
            .await?;
        let finding = match (count, elsewhere.is_empty()) {
            (0, true) => Finding::Unwritten,
            (0, false) => Finding::Accepted(Strangers {
                count: u64::try_from(elsewhere.len()).unwrap_or(u64::MAX),
                xids: elsewhere.into_iter().take(SHOWN).collect(),
                not_closable: self.control.powers.not_closable.clone(),
                ..Strangers::default()
            }),
            (count, _) => Finding::Written(count),
        };
        Ok(WriteProof {
            method: ProofMethod::WalRecords,
            through,
            finding,
        })
    }

    pub(super) async fn count(&self, since: Lsn, exempt: &Exempt) -> Result<u64, ProviderError> {
        let flush = format!("{}; {OWN}", emit(("pointsman.proof", "")));
        let flushed = self.control.postgres.batch(PROVE, &flush).await?;
        let (xid, through) = written(&self.control.server.name, PROVE, &flushed)?;
        let mut own = Own::parse(&self.control, PROVE, flushed.get(1))?;
        own.xids.insert(low(&xid));
        let (count, _) = self.read((since, None), through, exempt, &own).await?;
        Ok(count)
    }

    /// The user commits in `since..through`: commits of a transaction, or of a subtransaction,
    /// that wrote rows or a sequence of any relation that is not exempt. Those that carry the origin
    /// of the reverse stream do not count. Every commit of a transaction that was prepared counts:
    /// its writes may lie anywhere before.
    ///
    /// Beside their number, the transactions that wrote in databases that cannot be closed,
    /// which nothing moves and nothing takes back.
    async fn read(
        &self,
        (since, open): (Lsn, Option<&BTreeSet<String>>),
        through: Lsn,
        exempt: &Exempt,
        own: &Own,
    ) -> Result<(u64, BTreeSet<u64>), ProviderError> {
        let not_counted = NotCounted {
            exempt,
            origins: &own.origins,
        };
        let reader = self.reader()?;
        let (reached, mut found) = self.collect(since, through, not_counted, PROOF).await?;
        if let Some(found) = unread(reached, through) {
            let reading = format!("reading WAL to {through}");
            return Err(self.control.timed_out(&reading, PROOF, found));
        }
        let elsewhere = found.elsewhere.iter().filter_map(|xid| xid.parse().ok());
        let elsewhere = elsewhere.collect();
        let Judged { users, unclear } = found.judge(&own.xids);
        let before = match open {
            // Whoever began behind the look has written behind it, too.
            Some(open) => unclear.iter().filter(|commit| commit.is_in(open)).collect(),
            None => {
                self.wrote_before(&reader, since, &unclear, not_counted)
                    .await
            }
        };
        let count = u64::try_from(users.len() + before.len()).unwrap_or(u64::MAX);
        Ok((count, elsewhere))
    }

    /// What stands in `since..through`, and how far that was read `within` this time.
    pub(super) async fn collect(
        &self,
        since: Lsn,
        through: Lsn,
        not_counted: NotCounted<'_>,
        within: Duration,
    ) -> Result<(Lsn, Found), ProviderError> {
        let reader = self.reader()?;
        let mut found = Found::default();
        let mut next = since;
        let mut chunk = CHUNK;
        let deadline = Instant::now() + within;
        while next < through {
            if Instant::now() >= deadline {
                return Ok((next, found));
            }
            let end = through.min(Lsn(next.0.saturating_add(chunk)));
            let read = self
                .read_wal(PROVE, &reader, next, end, not_counted)
                .await?;
            // A record that is longer than the chunk shows only in a longer one, and the next
            // chunk begins where the last record ended, not in the middle of one.
            match read {
                Some((reached, more)) => {
                    found.extend(more);
                    (next, chunk) = (reached, CHUNK);
                }
                None if end == through => break,
                None => chunk = chunk.saturating_mul(2),
            }
        }
        Ok((next.max(through), found))
    }

    /// Those of the transactions whose commit was read, but no write, that wrote shortly before
    /// `since`: nobody looked then who had begun.
    pub(super) async fn wrote_before<'a>(
        &self,
        reader: &str,
        since: Lsn,
        unclear: &'a [Commit],
        not_counted: NotCounted<'_>,
    ) -> Vec<&'a Commit> {
        if unclear.is_empty() {
            return Vec::new();
        }
        // The segment before may be recycled.
        let far = Lsn(since.0.saturating_sub(CHUNK));
        let near = Lsn(since.0 - since.0 % SMALLEST_SEGMENT);
        let read = |from| self.read_wal(PROVE, reader, from, since, not_counted);
        let mut earlier = read(far).await;
        if earlier.is_err() {
            earlier = read(near).await;
        }
        let wrote = |commit: &&Commit| match &earlier {
            Ok(Some((_, found))) => found.wrote(commit),
            Ok(None) => false,
            Err(_) => true,
        };
        unclear.iter().filter(wrote).collect()
    }

    /// What stands in `begin..end`, and where its last record ends; `None` when no record
    /// ends there.
    async fn read_wal(
        &self,
        what: &str,
        reader: &str,
        begin: Lsn,
        end: Lsn,
        not_counted: NotCounted<'_>,
    ) -> Result<Option<(Lsn, Found)>, ProviderError> {
        let (begin, end) = (PgLsn::from(begin.0), PgLsn::from(end.0));
        let origins = not_counted.origins.iter().map(u32::to_string);
        let origins: Vec<String> = origins.collect();
        let row = self
            .control
            .postgres
            .row(
                what,
                reader,
                &[
                    &begin,
                    &end,
                    &not_counted.exempt.filenodes,
                    &self.control.powers.not_closable_oids,
                    &origins,
                ],
            )
            .await?;
        let reached: Option<PgLsn> = row.get(0);
        Ok(reached.map(|reached| {
            let mut found = Found {
                writers: BTreeMap::new(),
                own: row.get::<_, Vec<String>>(2).into_iter().collect(),
                commits: row
                    .get::<_, Vec<String>>(3)
                    .iter()
                    .map(|commit| Commit::parse(commit))
                    .collect(),
                elsewhere: row.get::<_, Vec<String>>(4).into_iter().collect(),
                marked: row.get::<_, Vec<String>>(5).into_iter().collect(),
                ended: xids(&row.get::<_, Vec<String>>(6)),
            };
            for writer in row.get::<_, Vec<String>>(1) {
                found.add_writer(&writer);
            }
            (lsn_of(reached), found)
        }))
    }

    pub(super) fn reader(&self) -> Result<String, ProviderError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.clone().ok_or_else(|| {
            self.control
                .unfit("extension pg_walinspect does not read its WAL")
        })
    }
}

/// Why WAL that was read up to `reached` says nothing of what stands before `through`.
fn unread(reached: Lsn, through: Lsn) -> Option<String> {
    (reached < through).then(|| format!("{reached} is reached"))
}

/// What of WAL is no user's: writes to relations that are exempt, and commits of these origins.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotCounted<'a> {
    pub(super) exempt: &'a Exempt,
    pub(super) origins: &'a BTreeSet<u32>,
}

/// The transactions, and their subtransactions, of records with an id or several.
fn xids(records: &[String]) -> BTreeSet<String> {
    let xids = records
        .iter()
        .flat_map(|record| record.split_ascii_whitespace());
    xids.map(str::to_owned).collect()
}

fn lsn_of(lsn: PgLsn) -> Lsn {
    Lsn(lsn.into())
}

const PROVE: &str = "prove from WAL that nobody wrote";

const WALINSPECT: &str = "SELECT n.nspname::text FROM pg_extension e \
     JOIN pg_namespace n ON n.oid = e.extnamespace \
     JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'pg_get_wal_records_info' \
     WHERE e.extname = 'pg_walinspect' AND has_function_privilege(p.oid, 'EXECUTE') \
       AND has_schema_privilege(n.oid, 'USAGE')";

const KEPT_WAL: &str = "SELECT redo_lsn, CASE WHEN pg_is_in_recovery() \
     THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END FROM pg_control_checkpoint()";

/// `block_ref` names the relation as `rel tablespace/database/filenode`; TRUNCATE has none.
/// The description of a prepared transaction's commit begins with its transaction id.
/// <https://www.postgresql.org/docs/current/pgwalinspect.html>
const READ_WAL: &str = "SELECT max(end_lsn), \
       coalesce(array_agg(DISTINCT concat_ws(' ', xid, \
           substring(block_ref FROM 'rel \\d+/(\\d+)/'))) FILTER ( \
         WHERE (resource_manager = 'Sequence' OR (resource_manager IN ('Heap', 'Heap2') \
             AND record_type ~ '^(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE|TRUNCATE)')) \
           AND coalesce(substring(block_ref FROM 'rel (\\d+/\\d+/\\d+)'), '') <> ALL ($3) \
           AND (cardinality($4::text[]) = 0 \
             OR coalesce(substring(block_ref FROM 'rel \\d+/(\\d+)/'), '') <> ALL ($4))), '{}'), \
       coalesce(array_agg(DISTINCT xid::text) FILTER ( \
         WHERE resource_manager = 'LogicalMessage' \
           AND description LIKE '%prefix \"pointsman.%'), '{}'), \
       coalesce(array_agg(concat_ws(' ', record_type, xid, \
           substring(description FROM '^(\\d+): '), \
           substring(description FROM 'subxacts:([ 0-9]*)'))) FILTER ( \
         WHERE resource_manager = 'Transaction' AND record_type LIKE 'COMMIT%' \
           AND coalesce(substring(description FROM 'origin: node (\\d+)'), '') <> ALL ($5)), '{}'), \
       coalesce(array_agg(DISTINCT xid::text) FILTER ( \
         WHERE cardinality($4::text[]) > 0 \
           AND resource_manager IN ('Heap', 'Heap2', 'Sequence') AND xid::text <> '0' \
           AND substring(block_ref FROM 'rel \\d+/(\\d+)/') = ANY ($4)), '{}'), \
       coalesce(array_agg(DISTINCT xid::text) FILTER ( \
         WHERE resource_manager = 'LogicalMessage' \
           AND description LIKE '%prefix \"pointsman.own\"%'), '{}'), \
       coalesce(array_agg(concat_ws(' ', xid, \
           substring(description FROM 'subxacts:([ 0-9]*)'))) FILTER ( \
         WHERE resource_manager = 'Transaction' AND (record_type LIKE 'ABORT%' \
           OR record_type LIKE 'COMMIT%' \
             AND substring(description FROM 'origin: node (\\d+)') = ANY ($5))), '{}') \
     FROM SCHEMA.pg_get_wal_records_info($1, $2)";

/// A statement that reads as much ends within its timeout, on a busy machine too.
const CHUNK: u64 = 4 * 1024 * 1024;
/// More WAL than can be read in this time cannot be counted while somebody waits.
const PROOF: Duration = Duration::from_secs(10);
const WARM_UP: u64 = 64 * 1024;
/// More ids make no message clearer.
const SHOWN: usize = 8;
const SMALLEST_SEGMENT: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_name_an_id_by_its_low_half_and_its_subtransactions_beside_it() {
        assert_eq!(low(&((3 << 32) + 731)), "731");
        assert_eq!(low(&u64::from(u32::MAX)), "4294967295");
        let records = ["731 732 733".to_owned(), "740".to_owned(), String::new()];
        let found = xids(&records);
        assert_eq!(
            found,
            ["731", "732", "733", "740"].map(str::to_owned).into()
        );
    }

    #[test]
    fn wal_that_was_not_read_to_the_end_proves_nothing() {
        let end = Lsn(8);
        let found = unread(Lsn(7), end);
        assert_eq!(found, Some("0/7 is reached".to_owned()));
        assert_eq!(unread(end, end), None);
        assert_eq!(unread(Lsn(9), end), None);
    }

    #[test]
    fn positions_stay_what_they_are_and_pieces_of_wal_are_whole() {
        assert_eq!(lsn_of(PgLsn::from(0x1_0000_0020)), Lsn(0x1_0000_0020));
        assert_eq!(CHUNK, 4 << 20);
        assert_eq!(WARM_UP, 64 << 10);
        assert_eq!(SMALLEST_SEGMENT, 1 << 20);
    }
}
