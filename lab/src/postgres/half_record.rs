//! WAL whose last record is on the disk in part.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

use super::PostgresServer;

impl PostgresServer {
    /// Leaves a record at the end of WAL that stays on the disk in part, until somebody commits: the WAL
    /// writer flushes whole pages, and a transaction that fails without an id flushes nothing.
    pub async fn flush_half_a_record(&self) -> Result<()> {
        let session = self.client("postgres").await?;
        let deadline = Instant::now() + DEADLINE;
        loop {
            let begin: String = session.query_one(END, &[]).await?.get(0);
            let failed = session.batch_execute(FAILS).await;
            ensure!(failed.is_err(), "the transaction was to fail");
            let in_part = format!(
                "SELECT pg_current_wal_flush_lsn() > '{begin}' \
                     AND pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn(), \
                   pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()"
            );
            loop {
                let row = session.query_one(&in_part, &[]).await?;
                if row.get(0) {
                    return Ok(());
                }
                ensure!(Instant::now() < deadline, "nothing was flushed in part");
                if row.get(1) {
                    // Somebody has committed.
                    break;
                }
                sleep(LOOK_AGAIN).await;
            }
        }
    }
}

const END: &str = "SELECT pg_current_wal_insert_lsn()::text";

/// Longer than a page.
const FAILS: &str = "DO $$ BEGIN \
     PERFORM pg_logical_emit_message(false, 'lab', repeat('-', 20000)); \
     RAISE EXCEPTION 'it failed'; END $$";

/// A WAL writer without work sleeps for 25 times `wal_writer_delay`.
const DEADLINE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
