use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio_postgres::types::PgLsn;

use super::super::{
    control_sessions::ControlSessions,
    publication,
    session::Session,
    slots,
    text::{identifier, literal},
};
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

    async fn slots_there(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError> {
        let postgres = &self.control.postgres;
        let what = "look for reverse slots";
        let rows = postgres.rows(what, SLOTS_THERE, &[&datnames]).await?;
        let slot = |row: &tokio_postgres::Row| ReverseSlot {
            datname: row.get(0),
            slot: row.get(1),
            lsn: row
                .get::<_, Option<PgLsn>>(2)
                .map_or(Lsn(0), |lsn| Lsn(lsn.into())),
        };
        Ok(rows.iter().map(slot).collect())
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
                   s.confirmed_flush_lsn, coalesce(s.restart_lsn, s.confirmed_flush_lsn), \
                   pg_current_wal_insert_lsn() \
                 FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid \
                 WHERE s.slot_name = ANY ($1) AND s.confirmed_flush_lsn IS NOT NULL \
                   AND s.wal_status IS DISTINCT FROM 'lost'",
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
                kept_from: lsn(row.get(3)),
                position: lsn(row.get(4)),
            })
            .collect())
    }

    async fn missing(&self, slots: &[ReverseSlot]) -> Result<Vec<String>, ProviderError> {
        let names: Vec<&str> = slots.iter().map(|slot| slot.slot.as_str()).collect();
        let rows = self
            .control
            .postgres
            .rows(
                "look for lost reverse slots",
                "SELECT slot_name::text, wal_status IS NOT DISTINCT FROM 'lost' \
                 FROM pg_replication_slots WHERE slot_name = ANY ($1)",
                &[&names],
            )
            .await?;
        let found: BTreeMap<String, bool> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let mut published = Vec::with_capacity(slots.len());
        for slot in slots {
            self.control.open_database(&slot.datname).await?;
            let session = self.control.database(&slot.datname)?;
            published.push(async move { publication::is_there(&session).await });
        }
        let published = try_join_all(published).await?;
        let of = slots.iter().zip(published);
        let missing = of.filter_map(|(slot, published)| match found.get(&slot.slot) {
            Some(false) => (!published)
                .then(|| format!("the publication of database {} is gone", slot.datname)),
            Some(true) => Some(format!(
                "the reverse slot of database {} is lost: {} has removed WAL that it needed \
                 (max_slot_wal_keep_size)",
                slot.datname, self.control.server.name
            )),
            None => Some(format!(
                "the reverse slot of database {} is gone",
                slot.datname
            )),
        });
        Ok(missing.collect())
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

    /// What `nextval` gives next is told by `last_value` and `is_called` of the sequence alone.
    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError> {
        let what = "read its sequences";
        let session = self.control.database(datname)?;
        let rows = session.rows(what, SEQUENCES, &[]).await?;
        if let Some(row) = rows.iter().find(|row| !row.get::<_, bool>(1)) {
            let name: String = row.get(0);
            return Err(self.control.unfit(format!(
                "the control role may not read sequence {name} of database {datname}; run GRANT \
                 SELECT ON SEQUENCE {name} TO {}",
                identifier(&self.control.powers.role)
            )));
        }
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let mut values = Vec::with_capacity(names.len());
        for names in names.chunks(SEQUENCES_AT_ONCE) {
            let rows = session.rows(what, &states_of(names), &[]).await?;
            values.extend(rows.iter().map(|row| SequenceValue {
                name: row.get(0),
                value: row.get(1),
                is_called: row.get(2),
            }));
        }
        Ok(values)
    }
}

/// A query for the state of sequences. The view `pg_sequences` has no value of one whose next value was
/// set, and not called yet.
fn states_of(names: &[String]) -> String {
    let one = |name: &String| {
        format!(
            "SELECT {}, last_value, is_called FROM {name}",
            literal(name)
        )
    };
    let all: Vec<_> = names.iter().map(one).collect();
    all.join(" UNION ALL ")
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
const SLOTS_THERE: &str = "SELECT d.datname::text, s.slot_name::text, s.confirmed_flush_lsn \
     FROM pg_database d JOIN pg_replication_slots s ON s.slot_name = 'pointsman_rb_' || d.oid::text \
     WHERE d.datname = ANY ($1) ORDER BY 1";
const SEQUENCES: &str = "SELECT format('%I.%I', n.nspname, c.relname), \
       has_sequence_privilege(c.oid, 'SELECT') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'S' AND c.relpersistence <> 't'";
/// One statement reads so many, each of which takes a lock.
const SEQUENCES_AT_ONCE: usize = 200;
const CREATE_SLOT: &str = "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')";
