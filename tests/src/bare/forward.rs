//! From the primary to its standby.

use anyhow::Context;
use futures_util::future::{try_join, try_join_all};

use super::server::{Database, Server, Spare};
use super::{Bare, Laps, STEP_DEADLINE, until};

impl Bare {
    /// Moves the writer to the target, and publishes it.
    ///
    /// # Errors
    /// A step fails; the servers stay as they are then.
    pub async fn forward(&self) -> anyhow::Result<Laps> {
        let (source, target) = (&self.source, &self.target);
        let mut laps = Laps::start();
        let closed = source.close().await?;
        laps.lap("close");
        source.barrier(&closed).await?;
        laps.lap("barrier");
        let nobody = Spare::Nobody;
        try_join(source.end_sessions(nobody), target.end_sessions(nobody)).await?;
        laps.lap("sessions");
        let marker = source.marker().await?;
        let behind_marker = source.wal_insert_lsn().await?;
        laps.lap("marker");
        target.until_replayed(&marker, STEP_DEADLINE).await?;
        target.end_sessions(nobody).await?;
        laps.lap("replay");
        source.no_user_commit_since(&behind_marker).await?;
        laps.lap("proof on the source");
        target.promote(&marker).await?;
        laps.lap("promote");
        let recovered = target.ask("SELECT pg_last_wal_replay_lsn()::text").await?;
        target.barrier(&closed).await?;
        target.end_sessions(nobody).await?;
        laps.lap("late sessions");
        try_join_all(target.databases().iter().map(Database::create_slot)).await?;
        laps.lap("slots");
        target.no_user_commit_since(&recovered).await?;
        laps.lap("proof on the target");
        target.open_databases(&closed).await?;
        laps.lap("open");
        target.probe(1).await?;
        laps.lap("probe");
        self.writer.send_replace(target.address());
        Ok(laps)
    }

    /// Starts the reverse stream while the target serves.
    ///
    /// # Errors
    /// A server refuses, or the stream does not start.
    pub async fn arm(&self) -> anyhow::Result<()> {
        let target = self.target.address();
        for database in self.source.databases() {
            let name = &database.datname;
            self.source
                .run(&format!(
                    "BEGIN; ALTER DATABASE {name} CONNECTION LIMIT 0; ALTER DATABASE {name} ALLOW_CONNECTIONS true; COMMIT"
                ))
                .await?;
            database
                .run(&format!(
                    "CREATE SUBSCRIPTION bare_rb CONNECTION 'host={} port={} user={} dbname={name}' \
                     PUBLICATION bare_rb WITH (create_slot = false, slot_name = '{}', copy_data = false, synchronous_commit = local)",
                    target.ip(),
                    target.port(),
                    self.superuser,
                    database.slot(),
                ))
                .await?;
        }
        let lsn = self.target.marker().await?;
        let confirmed = self.target.until_confirmed(&lsn, STEP_DEADLINE).await;
        confirmed.context("the reverse stream")
    }
}

impl Server {
    /// Promotes only if everything that must be true is true at that moment, as the server itself sees it.
    async fn promote(&self, marker: &str) -> anyhow::Result<()> {
        self.ask(&format!(
            "SELECT (CASE WHEN pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '{marker}' AND NOT EXISTS \
             (SELECT FROM pg_database WHERE datallowconn AND datname <> 'postgres') THEN pg_promote(false) END)::text"
        ))
        .await?;
        let promoted = "SELECT NOT pg_is_in_recovery()";
        until("promotion", STEP_DEADLINE, async || {
            self.says_yes(promoted).await
        })
        .await
    }
}

impl Database {
    async fn create_slot(&self) -> anyhow::Result<String> {
        let slot = self.slot();
        let create = format!(
            "SELECT lsn::text FROM pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        );
        self.ask(&create).await
    }
}
