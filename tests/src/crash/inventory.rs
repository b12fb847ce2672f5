//! What a server holds besides the applications' rows: a case must leave nothing behind.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use pointsman_lab::postgres::PostgresServer;

/// A line for each thing that a switch makes or changes.
pub(super) type Inventory = BTreeSet<String>;

/// Everything on `server`; its application databases must be open.
pub(super) async fn whole(server: &PostgresServer, datnames: &[String]) -> Result<Inventory> {
    let mut found = outside_of_databases(server).await?;
    for datname in datnames.iter().map(String::as_str).chain(["postgres"]) {
        found.extend(lines(server, datname, INSIDE).await?);
    }
    Ok(found)
}

/// What can be seen of a server whose databases are closed.
pub(super) async fn outside_of_databases(server: &PostgresServer) -> Result<Inventory> {
    let mut found = lines(server, "postgres", OUTSIDE).await?;
    for file in ["pg_hba.conf", "postgresql.auto.conf"] {
        let path = server.data_folder().join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = text.lines().filter(|line| !line.trim().is_empty());
        found.extend(text.map(|line| format!("{file}: {line}")));
    }
    for entry in fs::read_dir(server.data_folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("pg_hba") {
            found.insert(format!("file {name}"));
        }
    }
    Ok(found)
}

async fn lines(server: &PostgresServer, datname: &str, sql: &str) -> Result<Inventory> {
    let session = server.client(datname).await?;
    let rows = session.query(sql, &[]).await?;
    let rows = rows.iter().map(|row| row.try_get::<_, String>(0));
    let lines = rows.collect::<Result<Inventory, _>>()?;
    Ok(lines)
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
