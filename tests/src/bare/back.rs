//! From the target back to the source, over the reverse stream.

use futures_util::future::try_join_all;

use super::server::{Database, Spare};
use super::{Bare, Laps, STEP_DEADLINE};

impl Bare {
    /// Moves the writer back to the source, and publishes it. The reverse stream must be running.
    ///
    /// # Errors
    /// A step fails; the servers stay as they are then.
    pub async fn back(&self) -> anyhow::Result<Laps> {
        let (source, target) = (&self.source, &self.target);
        let mut laps = Laps::start();
        let closed = target.close().await?;
        laps.lap("close");
        target.barrier(&closed).await?;
        laps.lap("barrier");
        target.end_sessions(Spare::ReverseStream).await?;
        laps.lap("sessions");
        let marker = target.marker().await?;
        let behind_marker = target.wal_insert_lsn().await?;
        laps.lap("marker");
        target.until_confirmed(&marker, STEP_DEADLINE).await?;
        laps.lap("drain");
        target.no_user_commit_since(&behind_marker).await?;
        laps.lap("proof on the target");
        let pairs = target.databases().iter().zip(source.databases());
        try_join_all(pairs.map(|(from, to)| copy_sequences(from, to))).await?;
        laps.lap("sequences");
        let disable = "ALTER SUBSCRIPTION bare_rb DISABLE";
        try_join_all(
            source
                .databases()
                .iter()
                .map(|database| database.run(disable)),
        )
        .await?;
        laps.lap("disable");
        source.open_databases(&closed).await?;
        laps.lap("open");
        source.probe(2).await?;
        laps.lap("probe");
        self.writer.send_replace(source.address());
        Ok(laps)
    }
}

/// Logical replication does not carry sequences.
async fn copy_sequences(from: &Database, to: &Database) -> anyhow::Result<()> {
    let set = from.ask(SEQUENCES).await?;
    if set.is_empty() {
        return Ok(());
    }
    to.run(&set).await
}

const SEQUENCES: &str = "SELECT string_agg(format('SELECT setval(%L::regclass, %s, %L)', \
    format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value), last_value IS NOT NULL), '; ') \
    FROM pg_sequences";
