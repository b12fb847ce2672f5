use std::sync::Arc;

use async_trait::async_trait;

use super::{
    admission::rehearse,
    control_sessions::ControlSessions,
    hba::HbaFile,
    identity::SqlIdentity,
    publication, record,
    session::Session,
    statements::{PUBLICATION, identifier},
};
use crate::ports::{Exempt, Observe as _, Preparation, ProviderError};

/// What a switch needs on the source beforehand; it travels to the target in WAL.
#[derive(Debug)]
pub(super) struct SqlPreparation {
    pub(super) control: Arc<ControlSessions>,
    pub(super) identity: SqlIdentity,
    pub(super) hba: Arc<HbaFile>,
}

impl SqlPreparation {
    async fn make_tables_and_publications(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.hba.read().await?;
        let what = "make the fence table";
        self.control.postgres.batch(what, record::CREATE).await?;
        // Only a superuser can make it; where a DBA has, it serves all the same.
        if self.control.powers.superuser {
            self.control
                .postgres
                .batch("make extension pg_walinspect", MAKE_WALINSPECT)
                .await?;
        }
        for datname in datnames {
            let session = self.control.database(datname)?;
            session
                .batch("make the probe table", CREATE_IN_DATABASE)
                .await?;
            self.admit_probe_role(&session).await?;
            publication::make(&session, &self.control.powers).await?;
        }
        Ok(())
    }

    /// Lets the probe role, where one is declared, write the probe table.
    async fn admit_probe_role(&self, session: &Session) -> Result<(), ProviderError> {
        let control = &self.control;
        let role = control.connector.probe_role(&control.server);
        let Some(role) = role.map_err(|reason| control.unfit(reason))? else {
            return Ok(());
        };
        let what = "let the probe role write the probe table";
        session.batch(what, &grant_probe(&role)).await?;
        Ok(())
    }

    /// Autovacuum works in every database, so the relations that it writes are collected in
    /// each that can be entered.
    async fn exempt_filenodes(&self, datnames: &[String]) -> Result<Exempt, ProviderError> {
        let mut filenodes = filenodes(&self.control.postgres).await?;
        for database in self.identity.observe().await?.databases {
            let datname = database.datname;
            let ours = self.control.powers.owns(&datname);
            if !ours || !database.allow_connections || datname == "postgres" {
                continue;
            }
            if datnames.contains(&datname) {
                filenodes.extend(self::filenodes(&*self.control.database(&datname)?).await?);
            } else {
                let passing = self.control.passing(&datname).await?;
                filenodes.extend(self::filenodes(&passing).await?);
            }
        }
        filenodes.sort_unstable();
        filenodes.dedup();
        Ok(Exempt { filenodes })
    }
}

#[async_trait]
impl Preparation for SqlPreparation {
    async fn prepare(&self, datnames: &[String]) -> Result<Exempt, ProviderError> {
        rehearse(&self.control, &self.identity.observe().await?.databases).await?;
        self.make_tables_and_publications(datnames).await?;
        self.exempt_filenodes(datnames).await
    }

    async fn complete(&self, datnames: &[String]) -> Result<(), ProviderError> {
        rehearse(&self.control, &self.identity.observe().await?.databases).await?;
        for datname in datnames {
            publication::complete(&*self.control.database(datname)?).await?;
        }
        Ok(())
    }

    async fn unprepare(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            let sql = format!(
                "DROP PUBLICATION IF EXISTS {PUBLICATION}; DROP SCHEMA IF EXISTS pointsman CASCADE"
            );
            self.control
                .database(datname)?
                .batch("take the probe table and publication down", &sql)
                .await?;
        }
        // An extension that was there before is in another schema, and stays.
        let sql = "DROP SCHEMA IF EXISTS pointsman CASCADE";
        self.control
            .postgres
            .batch("take the fence table down", sql)
            .await?;
        Ok(())
    }
}

async fn filenodes(session: &Session) -> Result<Vec<String>, ProviderError> {
    let rows = session
        .rows("read the file nodes of statistics", FILENODES, &[])
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// PostgreSQL 14 has none, and some servers lack the contrib modules: there the proof that
/// nobody wrote counts transaction ids.
const MAKE_WALINSPECT: &str = "DO $$ BEGIN \
       IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_walinspect') THEN \
         CREATE EXTENSION IF NOT EXISTS pg_walinspect SCHEMA pointsman; \
       END IF; END $$";

/// The probe table, and the table in which the engine vouches for its transactions in the database.
/// Both have a primary key, so that the reverse stream can carry their changes.
pub(super) const CREATE_IN_DATABASE: &str = "CREATE SCHEMA IF NOT EXISTS pointsman; \
     CREATE TABLE IF NOT EXISTS pointsman.probe (\
       id int PRIMARY KEY, \
       value bigint NOT NULL, \
       at timestamptz NOT NULL DEFAULT clock_timestamp()); \
     CREATE TABLE IF NOT EXISTS pointsman.transactions (\
       id uuid PRIMARY KEY DEFAULT gen_random_uuid(), \
       what text NOT NULL, \
       at timestamptz NOT NULL DEFAULT clock_timestamp())";

/// ON CONFLICT reads the row that is there.
pub(super) fn grant_probe(role: &str) -> String {
    let role = identifier(role);
    format!(
        "GRANT USAGE ON SCHEMA pointsman TO {role}; \
         GRANT SELECT, INSERT, UPDATE ON pointsman.probe TO {role}"
    )
}

/// What ANALYZE and VACUUM write, and the probe table, as WAL records name them.
const FILENODES: &str = "WITH listed AS ( \
       SELECT c.oid, c.reltoastrelid, c.reltablespace, c.relisshared FROM pg_class c \
       WHERE c.oid IN ('pg_statistic'::regclass, 'pg_statistic_ext_data'::regclass, \
         'pg_class'::regclass, to_regclass('pointsman.probe'))), \
     all_of_them AS ( \
       SELECT oid, reltablespace, relisshared FROM listed \
       UNION SELECT t.oid, t.reltablespace, t.relisshared FROM pg_class t \
         JOIN listed ON listed.reltoastrelid = t.oid) \
     SELECT concat_ws('/', \
       CASE r.reltablespace WHEN 0 THEN d.dattablespace ELSE r.reltablespace END, \
       CASE WHEN r.relisshared THEN 0 ELSE d.oid END, \
       pg_relation_filenode(r.oid)) \
     FROM all_of_them r, pg_database d WHERE d.datname = current_database()";
