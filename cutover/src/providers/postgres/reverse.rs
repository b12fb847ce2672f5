//! The reverse stream: slots and sequences on the publisher, subscriptions on the
//! subscriber.

mod stream;
mod subscriber;

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};
use tokio_postgres::types::PgLsn;

use super::{server::SqlServer, session::Session};
use crate::{
    Lsn,
    ports::{ProviderError, ReverseSlot},
};

impl SqlServer {
    pub(super) async fn make_slots(
        &self,
        datnames: &[String],
    ) -> Result<Vec<ReverseSlot>, ProviderError> {
        let mut making = Vec::with_capacity(datnames.len());
        for datname in datnames {
            making.push(make_slot(self.database(datname)?, datname));
        }
        try_join_all(making).await
    }

    /// Ends the walsenders of slots and drops them; absent ones are no error.
    pub(super) async fn drop_slots_named(&self, slots: &[String]) -> Result<(), ProviderError> {
        let deadline = Instant::now() + DROP;
        let what = "drop replication slots";
        let mut found = "they are in use".to_owned();
        loop {
            let rows = self
                .postgres
                .rows(
                    what,
                    "SELECT slot_name::text, active_pid, \
                       CASE WHEN active_pid IS NOT NULL THEN pg_terminate_backend(active_pid) END \
                     FROM pg_replication_slots WHERE slot_name = ANY ($1)",
                    &[&slots],
                )
                .await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                let (slot, pid): (String, Option<i32>) = (row.get(0), row.get(1));
                if pid.is_none() {
                    // Its consumer may come back in between: then the next round ends it again.
                    let drop = "SELECT pg_drop_replication_slot($1)";
                    if let Err(error) = self.postgres.rows(what, drop, &[&slot]).await {
                        found = error.to_string();
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out("the end of replication slots", DROP, found));
            }
            sleep(POLL).await;
        }
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

/// Parses what the pause will use.
pub(super) async fn warm_up(session: &Session) -> Result<(), ProviderError> {
    let what = "prepare for the reverse slot";
    session.rows(what, FIND_SLOT, &[]).await?;
    session.prepare(what, CREATE_SLOT).await?;
    Ok(())
}

const FIND_SLOT: &str = "SELECT d.name, s.confirmed_flush_lsn \
     FROM (SELECT 'pointsman_rb_' || oid::text AS name FROM pg_database \
           WHERE datname = current_database()) AS d \
     LEFT JOIN pg_replication_slots s ON s.slot_name = d.name";
const CREATE_SLOT: &str = "SELECT lsn FROM pg_create_logical_replication_slot($1, 'pgoutput')";

const DROP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
