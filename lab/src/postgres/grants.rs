//! What a DBA grants the control role where no cloud's API promotes.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use super::{Hosting, PostgresPair};

impl PostgresPair {
    /// Grants the control role of managed servers the promotion by SQL and, where the version
    /// offers it, the reading of WAL, and waits until the standby has both. Does nothing where
    /// the control role is a superuser. Can be repeated.
    pub async fn grant_promotion_and_wal(&self) -> Result<()> {
        if self.source.hosting() == Hosting::SelfManaged {
            return Ok(());
        }
        let dba = self.source.client("postgres").await?;
        dba.batch_execute(GRANTS).await?;
        let written = "SELECT pg_logical_emit_message(true, 'lab', '')::text";
        let written: String = dba.query_one(written, &[]).await?.get(0);
        let standby = self.target.client("postgres").await?;
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
        let deadline = Instant::now() + REPLAY_DEADLINE;
        while !standby.query_one(&replayed, &[]).await?.get::<_, bool>(0) {
            if Instant::now() > deadline {
                bail!("the standby has not replayed the grants after {REPLAY_DEADLINE:?}");
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

const GRANTS: &str = "
GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO master;
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_walinspect') THEN
        CREATE EXTENSION IF NOT EXISTS pg_walinspect;
        GRANT EXECUTE ON FUNCTION pg_get_wal_records_info(pg_lsn, pg_lsn) TO master;
    END IF;
END $$";

const REPLAY_DEADLINE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(5);
