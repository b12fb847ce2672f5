//! What a server holds besides the applications' rows.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};

use super::server::PostgresServer;

/// A line for each thing.
pub type Inventory = BTreeSet<String>;

impl PostgresServer {
    /// Everything that a switch makes or changes. The databases `datnames` must be open.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn inventory(&self, datnames: &[String]) -> Result<Inventory> {
        let mut found = self.outside_of_databases().await?;
        for datname in datnames.iter().map(String::as_str).chain(["postgres"]) {
            found.extend(self.inside_of(datname).await?);
        }
        Ok(found)
    }

    /// What can be seen while the application databases are closed.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn outside_of_databases(&self) -> Result<Inventory> {
        let mut found = self.lines("postgres", OUTSIDE).await?;
        for file in ["pg_hba.conf", "postgresql.auto.conf"] {
            let path = self.data_folder().join(file);
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let text = text.lines().filter(|line| !line.trim().is_empty());
            found.extend(text.map(|line| format!("{file}: {line}")));
        }
        for entry in fs::read_dir(self.data_folder())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("pg_hba") {
                found.insert(format!("file {name}"));
            }
        }
        Ok(found)
    }

    /// What stands in database `datname`, which must be open.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn inside_of(&self, datname: &str) -> Result<Inventory> {
        self.lines(datname, INSIDE).await
    }

    /// What `sql` finds in `datname`: one column of text.
    ///
    /// # Errors
    /// The server does not answer, or refuses the statement.
    pub async fn lines(&self, datname: &str, sql: &str) -> Result<Inventory> {
        let session = self.client(datname).await?;
        let rows = session.query(sql, &[]).await?;
        let rows = rows.iter().map(|row| row.try_get::<_, String>(0));
        Ok(rows.collect::<Result<Inventory, _>>()?)
    }
}

const OUTSIDE: &str = "
SELECT format('slot %s', slot_name) FROM pg_replication_slots
UNION ALL SELECT format('subscription %s', subname) FROM pg_subscription
UNION ALL SELECT format('database %s: %s %s %s', datname, datallowconn, datconnlimit,
    array_to_string(datacl, ',')) FROM pg_database
UNION ALL SELECT format('setting of %s %s: %s', setdatabase, setrole, array_to_string(setconfig, ','))
    FROM pg_db_role_setting
UNION ALL SELECT format('role %s: %s %s %s', rolname, rolcanlogin, rolsuper, rolconnlimit) FROM pg_roles
UNION ALL SELECT format('prepared transaction %s', gid) FROM pg_prepared_xacts
UNION ALL SELECT format('replication origin %s', roname) FROM pg_replication_origin";

const INSIDE: &str = "
SELECT format('%s: publication %s', current_database(), pubname) FROM pg_publication
UNION ALL SELECT format('%s: schema %s', current_database(), nspname) FROM pg_namespace
    WHERE nspname !~ '^pg_(toast_)?temp'
UNION ALL SELECT format('%s: event trigger %s', current_database(), evtname) FROM pg_event_trigger
UNION ALL SELECT format('%s: extension %s', current_database(), extname) FROM pg_extension";
