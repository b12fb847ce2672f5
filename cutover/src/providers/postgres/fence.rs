//! Closing a server to everybody but the control sessions, and opening it again.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    hba, record,
    server::SqlServer,
    session::{knock, user_in},
    statements::{
        close_databases, close_named, identifier, limit_databases, literal, reopen_databases,
    },
};
use crate::ports::{Breach, Closed, FenceRecord, ProviderError, Refusal};

impl SqlServer {
    pub(super) async fn close_all(&self, fence: &FenceRecord) -> Result<Closed, ProviderError> {
        let recorded = record::read(&self.postgres)
            .await?
            .filter(|found| found.migration == fence.migration && found.server == fence.server);
        let observed = self.read_identity().await?.databases;
        let mut closed = match recorded {
            // Closed before by this migration: what is in force now is the fence itself.
            Some(found) => found.closed,
            None => Closed {
                databases: observed.clone(),
                hba: self.read_hba().await?,
                xids: Vec::new(),
            },
        };
        let full = FenceRecord {
            closed: closed.clone(),
            ..fence.clone()
        };
        let mut statements = vec![record::write(&full)?];
        statements.extend(close_databases(&observed));
        let xid = self.postgres.transaction("close it", &statements).await?;
        closed.xids.push(xid);
        if let Some(former) = &closed.hba {
            let text = self.fenced_hba(former).await?;
            self.write_hba(&text).await?;
        }
        Ok(closed)
    }

    pub(super) async fn wait_out_starting_backends(&self) -> Result<(), ProviderError> {
        let rows = self
            .postgres
            .rows("read tablespaces", TABLESPACES, &[])
            .await?;
        for row in rows {
            let (datname, tablespace): (String, String) = (row.get(0), row.get(1));
            let sql = format!(
                "ALTER DATABASE {} SET TABLESPACE {}",
                identifier(&datname),
                identifier(&tablespace)
            );
            self.postgres
                .batch("wait out starting sessions", &sql)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn find_breaches(
        &self,
        record: &FenceRecord,
        spare: &[crate::ports::ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError> {
        let known: Vec<&str> = record
            .closed
            .databases
            .iter()
            .map(|database| database.datname.as_str())
            .collect();
        let (rows, sessions) = futures_util::future::try_join(
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
            .map(|words| Breach { words })
            .collect())
    }

    pub(super) async fn reopen_all(
        &self,
        closed: &Closed,
        keep_closed: &[String],
    ) -> Result<Vec<u64>, ProviderError> {
        let there = self.read_identity().await?.databases;
        let exists = |datname: &String| there.iter().any(|database| database.datname == *datname);
        let former = closed.databases.iter().filter(|database| {
            exists(&database.datname) && !keep_closed.contains(&database.datname)
        });
        let mut statements = reopen_databases(former);
        statements.push(record::delete(&self.control.migration));
        let xid = self.postgres.transaction("open it", &statements).await?;
        Ok(vec![xid])
    }

    /// Sessions into closed databases of a promoted server: superusers are let in, everybody
    /// else is kept out by the limit, and the databases are closed again behind them.
    pub(super) async fn reenter(&self, datnames: &[String]) -> Result<Vec<u64>, ProviderError> {
        use crate::ports::ControlledServer as _;
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
        self.end_all_sessions(&[], &[], END_SESSIONS).await?;
        Ok(vec![opened, shut])
    }

    pub(super) async fn put_hba_back(&self, closed: &Closed) -> Result<(), ProviderError> {
        match &closed.hba {
            Some(former) => self.write_hba(former).await,
            None => Ok(()),
        }
    }

    pub(super) async fn await_reloaded_hba(
        &self,
        refusing: bool,
        within: Duration,
    ) -> Result<(), ProviderError> {
        if !self.rewrites_hba() {
            return Ok(());
        }
        let deadline = Instant::now() + within;
        loop {
            let answer = knock(&self.server, "postgres", Some(STRANGER)).await?;
            let rejected = matches!(&answer, Refusal::Refused { words, .. }
                if words.contains(REJECTED));
            if rejected == refusing {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = if refusing {
                    "the reload of the fenced pg_hba.conf"
                } else {
                    "the reload of the former pg_hba.conf"
                };
                return Err(self.timed_out(what, within, format!("{answer:?}")));
            }
            sleep(POLL).await;
        }
    }

    /// The file's text at level `sql+hba`, checked for what could not be given back.
    pub(super) async fn read_hba(&self) -> Result<Option<String>, ProviderError> {
        if !self.rewrites_hba() {
            return Ok(None);
        }
        let row = self
            .postgres
            .row(
                "read pg_hba.conf",
                "SELECT pg_read_file(current_setting('hba_file'))",
                &[],
            )
            .await?;
        let text: String = row.get(0);
        if hba::is_fenced(&text) {
            return Err(self.unfit(
                "its pg_hba.conf is fenced already, and no record of the former rules is there; \
                 restore the file first",
            ));
        }
        self.fenced_hba(&text).await?;
        Ok(Some(text))
    }

    async fn fenced_hba(&self, former: &str) -> Result<String, ProviderError> {
        let row = self
            .postgres
            .row("read its own role", "SELECT session_user::text", &[])
            .await?;
        let replication = self.server.replication.as_deref().and_then(user_in);
        let mut roles: Vec<String> = vec![row.get(0)];
        roles.extend(replication);
        roles.dedup();
        hba::fenced(former, &roles)
            .map_err(|error| self.unfit(format!("its pg_hba.conf cannot be fenced: {error}")))
    }

    /// Writes the file by SQL, one row a line, and reloads it. Neither the delimiter nor the
    /// quote can occur in a checked text, and an empty line is written as the null string,
    /// so that every byte is the text's own.
    async fn write_hba(&self, text: &str) -> Result<(), ProviderError> {
        let path = self
            .postgres
            .row(
                "find pg_hba.conf",
                "SELECT current_setting('hba_file')",
                &[],
            )
            .await?;
        let path: String = path.get(0);
        let sql = format!(
            "COPY (SELECT nullif(line, '') FROM unnest(string_to_array({}, E'\\n')) \
               WITH ORDINALITY AS lines (line, number) ORDER BY number) \
             TO {} WITH (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01', ESCAPE E'\\x01', NULL ''); \
             SELECT pg_reload_conf()",
            literal(text.strip_suffix('\n').unwrap_or(text)),
            literal(&path),
        );
        self.postgres.batch("write pg_hba.conf", &sql).await?;
        Ok(())
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

/// PostgreSQL's words for a rule that rejects; a closed database and a missing rule refuse
/// in other words and prove nothing about the reload.
const REJECTED: &str = "pg_hba.conf rejects connection";
/// A role that no rule is kept for. It need not exist.
const STRANGER: &str = "pointsman_knock";
const POLL: Duration = Duration::from_millis(1);
const END_SESSIONS: Duration = Duration::from_secs(2);
