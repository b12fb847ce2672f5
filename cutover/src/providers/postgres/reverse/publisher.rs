use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio_postgres::types::PgLsn;

use super::super::{control_sessions::ControlSessions, publication, session::Session, slots};
use crate::{
    Lsn,
    ports::{ProviderError, ReversePublisher, ReverseSlot, SequenceValue, SlotProgress},
};

/// A new primary that sends what is written on it to its predecessor.
#[derive(Debug)]
pub(in super::super) struct SqlReversePublisher {
    control: Arc<ControlSessions>,
}

impl SqlReversePublisher {
    pub(in super::super) fn new(control: Arc<ControlSessions>) -> Self {
        Self { control }
    }

    /// Parses what the pause will use.
    pub(in super::super) async fn warm_up(&self, datnames: &[String]) -> Result<(), ProviderError> {
        let what = "prepare for the reverse slot";
        for datname in datnames {
            let session = self.control.database(datname)?;
            session.rows(what, FIND_SLOT, &[]).await?;
            session.prepare(what, CREATE_SLOT).await?;
            publication::left_out(&session).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl ReversePublisher for SqlReversePublisher {
    async fn create_slots(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError> {
        let mut making = Vec::with_capacity(datnames.len());
        for datname in datnames {
            making.push(make_slot(self.control.database(datname)?, datname));
        }
        try_join_all(making).await
    }

    async fn drop_slots(&self, slots: &[ReverseSlot]) -> Result<(), ProviderError> {
        let names: Vec<_> = slots.iter().map(|slot| slot.slot.clone()).collect();
        slots::drop_named(&self.control, &names).await
    }

    async fn slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError> {
        let names: Vec<&str> = slots.iter().map(|slot| slot.slot.as_str()).collect();
        let rows = self
            .control
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

    async fn left_out(&self, datnames: &[String]) -> Result<Vec<String>, ProviderError> {
        self.control.open_databases(datnames).await?;
        let tables = async |datname: &String| {
            let session = self.control.database(datname)?;
            let tables = publication::left_out(&session).await?;
            Ok::<_, ProviderError>(
                tables
                    .into_iter()
                    .map(|table| format!("{datname}.{table}"))
                    .collect::<Vec<_>>(),
            )
        };
        let found = try_join_all(datnames.iter().map(tables)).await?;
        Ok(found.concat())
    }

    /// A sequence that was never used has no last value: its start value is next. One that the
    /// control role may not read would look the same.
    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError> {
        let rows = self
            .control
            .database(datname)?
            .rows("read its sequences", SEQUENCES, &[])
            .await?;
        if let Some(row) = rows.iter().find(|row| !row.get::<_, bool>(3)) {
            let name: String = row.get(0);
            return Err(self.control.unfit(format!(
                "the control role may not read sequence {name} of database {datname}; run GRANT \
                 SELECT ON SEQUENCE {name} TO {}",
                self.control.powers.role
            )));
        }
        Ok(rows
            .iter()
            .map(|row| SequenceValue {
                name: row.get(0),
                value: row.get(1),
                is_called: row.get(2),
            })
            .collect())
    }
}

async fn make_slot(session: Arc<Session>, datname: &str) -> Result<ReverseSlot, ProviderError> {
    let what = "make the reverse slot";
    let row = session.row(what, FIND_SLOT, &[]).await?;
    let (slot, there): (String, Option<PgLsn>) = (row.get(0), row.get(1));
    let lsn = match there {
        Some(lsn) => lsn,
        None => session.row(what, CREATE_SLOT, &[&slot]).await?.get(0),
    };
    Ok(ReverseSlot {
        datname: datname.to_owned(),
        slot,
        lsn: Lsn(lsn.into()),
    })
}

const FIND_SLOT: &str = "SELECT d.name, s.confirmed_flush_lsn \
     FROM (SELECT 'pointsman_rb_' || oid::text AS name FROM pg_database \
           WHERE datname = current_database()) AS d \
     LEFT JOIN pg_replication_slots s ON s.slot_name = d.name";
const SEQUENCES: &str = "SELECT format('%I.%I', s.schemaname, s.sequencename), \
       coalesce(s.last_value, s.start_value), s.last_value IS NOT NULL, \
       has_sequence_privilege(c.oid, 'SELECT, USAGE') \
     FROM pg_sequences s JOIN pg_namespace n ON n.nspname = s.schemaname \
     JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename";
const CREATE_SLOT: &str = "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')";
