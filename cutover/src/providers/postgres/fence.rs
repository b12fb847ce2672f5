use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::try_join;

use super::{
    client_sessions::ClientSessions,
    control_sessions::ControlSessions,
    hba::HbaFile,
    identity::SqlIdentity,
    record,
    statements::{close_databases, reopen_databases},
};
use crate::ports::{
    AccessRules, Breach, Fence, FenceRecord, FormerSettings, Observe as _, ProviderError,
    ReverseSlot,
};

/// Closes the databases of a server, and its `pg_hba.conf` at level `sql+hba`.
#[derive(Debug)]
pub(super) struct SqlFence {
    pub(super) control: Arc<ControlSessions>,
    pub(super) clients: ClientSessions,
    pub(super) identity: SqlIdentity,
    pub(super) hba: Arc<HbaFile>,
}

impl SqlFence {
    /// Parses, plans and loads what the pause will use.
    pub(super) async fn warm_up(&self) -> Result<(), ProviderError> {
        let nothing: [&str; 0] = [];
        self.control
            .postgres
            .rows("read its databases", BREACHES, &[&nothing.as_slice()])
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Fence for SqlFence {
    async fn close(&self, fence: &FenceRecord) -> Result<FormerSettings, ProviderError> {
        let (records, observed) = try_join(
            record::read_all(&self.control.postgres),
            self.identity.observe(),
        )
        .await?;
        let recorded = records
            .into_iter()
            .find(|found| found.server == fence.server);
        let mut closed = match recorded {
            Some(found) if found.migration != fence.migration => {
                return Err(self.control.unfit(format!(
                    "it carries the fence of migration {}, and the former settings are in that \
                     record; end that migration first",
                    found.migration
                )));
            }
            Some(found) if found.epoch > fence.epoch => return Err(self.control.superseded(found)),
            // This migration closed it before: what is in force now is the fence itself.
            Some(found) => found.former,
            None => FormerSettings {
                databases: observed.databases.clone(),
                hba: self.hba.read().await?,
                xids: Vec::new(),
            },
        };
        let full = FenceRecord {
            former: closed.clone(),
            ..fence.clone()
        };
        let mut statements = vec![record::write(&full)?];
        statements.extend(close_databases(&observed.databases));
        let xid = self
            .control
            .postgres
            .transaction("close it", &statements)
            .await?;
        closed.xids.push(xid);
        if let Some(former) = &closed.hba {
            self.hba.fence(former).await?;
        }
        Ok(closed)
    }

    async fn breaches(
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
            self.control
                .postgres
                .rows("prove its fence", BREACHES, &[&known]),
            self.clients.left(spare),
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

    async fn await_access_rules(
        &self,
        rules: AccessRules,
        deadline: Duration,
    ) -> Result<(), ProviderError> {
        self.hba.await_loaded(rules, deadline).await
    }

    async fn restore_access_rules(&self, former: &FormerSettings) -> Result<(), ProviderError> {
        match &former.hba {
            Some(text) => self.hba.write(text).await,
            None => Ok(()),
        }
    }

    async fn reopen(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<Vec<u64>, ProviderError> {
        let there = self.identity.observe().await?.databases;
        let exists = |datname: &String| there.iter().any(|database| database.datname == *datname);
        let databases = former.databases.iter().filter(|database| {
            exists(&database.datname) && !keep_closed.contains(&database.datname)
        });
        let mut statements = reopen_databases(databases);
        statements.push(record::delete(&self.control.leader.migration));
        let xid = self
            .control
            .postgres
            .transaction("open it", &statements)
            .await?;
        Ok(vec![xid])
    }
}

const BREACHES: &str = "SELECT format('database %s is open', datname) FROM pg_database \
       WHERE datallowconn AND datname <> 'postgres' \
     UNION ALL SELECT format('database %s was created after the fence', datname) \
       FROM pg_database WHERE datname <> ALL ($1) \
     UNION ALL SELECT format('database postgres has connection limit %s', datconnlimit) \
       FROM pg_database WHERE datname = 'postgres' AND datconnlimit <> 0 \
     UNION ALL SELECT format('prepared transaction %s of %s survives every fence', gid, owner) \
       FROM pg_prepared_xacts";
