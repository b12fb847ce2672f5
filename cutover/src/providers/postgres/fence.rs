//! Closing a server to everybody but the control sessions, and opening it again.

use std::time::Duration;

use futures_util::future::{try_join, try_join_all};

use super::{
    record,
    server::SqlServer,
    statements::{close_databases, close_named, identifier, limit_databases, reopen_databases},
};
use crate::ports::{
    Breach, FenceRecord, FormerSettings, ProviderError, ReverseSlot, SessionControl as _,
};

impl SqlServer {
    pub(super) async fn close_all(
        &self,
        fence: &FenceRecord,
    ) -> Result<FormerSettings, ProviderError> {
        let (records, observed) =
            try_join(record::read_all(&self.postgres), self.read_identity()).await?;
        let recorded = records
            .into_iter()
            .find(|found| found.server == fence.server);
        let mut closed = match recorded {
            Some(found) if found.migration != fence.migration => {
                return Err(self.unfit(format!(
                    "it carries the fence of migration {}, and the former settings are in that \
                     record; end that migration first",
                    found.migration
                )));
            }
            Some(found) if found.epoch > fence.epoch => return Err(self.superseded(found)),
            // FormerSettings before by this migration: what is in force now is the fence itself.
            Some(found) => found.former,
            None => FormerSettings {
                databases: observed.databases.clone(),
                hba: self.read_hba().await?,
                xids: Vec::new(),
            },
        };
        let full = FenceRecord {
            former: closed.clone(),
            ..fence.clone()
        };
        let mut statements = vec![record::write(&full)?];
        statements.extend(close_databases(&observed.databases));
        let xid = self.postgres.transaction("close it", &statements).await?;
        closed.xids.push(xid);
        if let Some(former) = &closed.hba {
            let text = self.fenced_hba(former).await?;
            self.write_hba(&text).await?;
        }
        Ok(closed)
    }

    /// Parses, plans and loads what the pause will use.
    pub(super) async fn warm_up_fence(&self) -> Result<(), ProviderError> {
        let nothing: [&str; 0] = [];
        self.postgres
            .rows("read its tablespaces", TABLESPACES, &[])
            .await?;
        self.postgres
            .rows("read its databases", BREACHES, &[&nothing.as_slice()])
            .await?;
        Ok(())
    }

    pub(super) async fn wait_out_starting_backends(&self) -> Result<(), ProviderError> {
        let what = "wait out starting sessions";
        let rows = self.postgres.rows(what, TABLESPACES, &[]).await?;
        let statements: Vec<String> = rows
            .iter()
            .map(|row| {
                format!(
                    "ALTER DATABASE {} SET TABLESPACE {}",
                    identifier(row.get(0)),
                    identifier(row.get(1))
                )
            })
            .collect();
        // Each must be a message of its own; sent at once they cost one round trip.
        let waits = statements.iter().map(|sql| self.postgres.batch(what, sql));
        try_join_all(waits).await?;
        Ok(())
    }

    pub(super) async fn find_breaches(
        &self,
        record: &FenceRecord,
        spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError> {
        let known: Vec<&str> = record
            .former
            .databases
            .iter()
            .map(|database| database.datname.as_str())
            .collect();
        let (rows, sessions) = try_join(
            self.postgres.rows("prove its fence", BREACHES, &[&known]),
            self.sessions_left(spare),
        )
        .await?;
        let sessions = sessions
            .into_iter()
            .map(|session| format!("a session is left: {session}"));
        Ok(rows
            .iter()
            .map(|row| row.get::<_, String>(0))
            .chain(sessions)
            .map(|message| Breach { message })
            .collect())
    }

    pub(super) async fn reopen_all(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<Vec<u64>, ProviderError> {
        let there = self.read_identity().await?.databases;
        let exists = |datname: &String| there.iter().any(|database| database.datname == *datname);
        let databases = former.databases.iter().filter(|database| {
            exists(&database.datname) && !keep_closed.contains(&database.datname)
        });
        let mut statements = reopen_databases(databases);
        statements.push(record::delete(&self.control.migration));
        let xid = self.postgres.transaction("open it", &statements).await?;
        Ok(vec![xid])
    }

    /// Sessions into closed databases of a promoted server: superusers are let in, everybody
    /// else is kept out by the limit, and the databases are closed again behind them.
    pub(super) async fn reenter(&self, datnames: &[String]) -> Result<Vec<u64>, ProviderError> {
        let opened = self
            .postgres
            .transaction("let the control role in again", &limit_databases(datnames))
            .await?;
        let entered = self.open_databases(datnames).await;
        let shut = self
            .postgres
            .transaction("close it again", &close_named(datnames))
            .await?;
        entered?;
        self.wait_out_starting_backends().await?;
        self.end_all_sessions(&[], false, END_SESSIONS).await?;
        Ok(vec![opened, shut])
    }
}

const TABLESPACES: &str = "SELECT d.datname::text, t.spcname::text FROM pg_database d \
     JOIN pg_tablespace t ON t.oid = d.dattablespace \
     WHERE NOT d.datallowconn AND d.datname <> 'postgres'";

const BREACHES: &str = "SELECT format('database %s is open', datname) FROM pg_database \
       WHERE datallowconn AND datname <> 'postgres' \
     UNION ALL SELECT format('database %s was created after the fence', datname) \
       FROM pg_database WHERE datname <> ALL ($1) \
     UNION ALL SELECT format('database postgres has connection limit %s', datconnlimit) \
       FROM pg_database WHERE datname = 'postgres' AND datconnlimit <> 0 \
     UNION ALL SELECT format('prepared transaction %s of %s survives every fence', gid, owner) \
       FROM pg_prepared_xacts";

const END_SESSIONS: Duration = Duration::from_secs(2);
