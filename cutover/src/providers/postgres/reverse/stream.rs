//! What is read and written to see that the stream runs, and what it does not carry.

use tokio_postgres::types::PgLsn;

use super::super::server::SqlServer;
use crate::{
    Lsn,
    ports::{ProviderError, ReverseSlot, SequenceValue, SlotProgress},
};

impl SqlServer {
    pub(in super::super) async fn upsert_probe(
        &self,
        datname: &str,
        value: i64,
    ) -> Result<(), ProviderError> {
        self.database(datname)?
            .rows(
                "write the probe row",
                "INSERT INTO pointsman.probe (id, value) VALUES (1, $1) ON CONFLICT (id) \
                 DO UPDATE SET value = excluded.value, at = clock_timestamp()",
                &[&value],
            )
            .await?;
        Ok(())
    }

    pub(in super::super) async fn select_probe(
        &self,
        datname: &str,
    ) -> Result<Option<i64>, ProviderError> {
        let rows = self
            .database(datname)?
            .rows(
                "read the probe row",
                "SELECT value FROM pointsman.probe WHERE id = 1",
                &[],
            )
            .await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    pub(in super::super) async fn read_slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError> {
        let names: Vec<&str> = slots.iter().map(|slot| slot.slot.as_str()).collect();
        let rows = self
            .postgres
            .rows(
                "look at the reverse slots",
                "SELECT s.slot_name::text, coalesce(r.state = 'streaming', false), \
                   s.confirmed_flush_lsn, pg_current_wal_insert_lsn() \
                 FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid \
                 WHERE s.slot_name = ANY ($1) AND s.confirmed_flush_lsn IS NOT NULL",
                &[&names],
            )
            .await?;
        let lsn = |lsn: PgLsn| Lsn(lsn.into());
        Ok(rows
            .iter()
            .map(|row| SlotProgress {
                slot: row.get(0),
                streaming: row.get(1),
                confirmed: lsn(row.get(2)),
                position: lsn(row.get(3)),
            })
            .collect())
    }

    /// A sequence that was never used has no last value: its start value is next.
    pub(in super::super) async fn read_sequences(
        &self,
        datname: &str,
    ) -> Result<Vec<SequenceValue>, ProviderError> {
        let rows = self
            .database(datname)?
            .rows(
                "read its sequences",
                "SELECT format('%I.%I', schemaname, sequencename), \
                   coalesce(last_value, start_value), last_value IS NOT NULL FROM pg_sequences",
                &[],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| SequenceValue {
                name: row.get(0),
                value: row.get(1),
                is_called: row.get(2),
            })
            .collect())
    }

    pub(in super::super) async fn write_sequences(
        &self,
        datname: &str,
        values: &[SequenceValue],
    ) -> Result<(), ProviderError> {
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        let numbers: Vec<i64> = values.iter().map(|value| value.value).collect();
        let called: Vec<bool> = values.iter().map(|value| value.is_called).collect();
        self.database(datname)?
            .rows(
                "set its sequences",
                "SELECT setval(name::regclass, number, called) \
                 FROM unnest($1::text[], $2::bigint[], $3::bool[]) AS v (name, number, called)",
                &[&names, &numbers, &called],
            )
            .await?;
        Ok(())
    }
}
