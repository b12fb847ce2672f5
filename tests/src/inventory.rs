//! What a server holds besides the applications' rows: a case must leave nothing behind.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context, Result};
use pointsman_lab::postgres::PostgresServer;
use tokio::time::{Instant, sleep};

/// Two servers, and the application databases on them.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The one that is left.
    pub source: &'a PostgresServer,
    /// The one that becomes the writer.
    pub target: &'a PostgresServer,
    /// The application databases.
    pub datnames: &'a [String],
}

/// A line for each thing that a switch makes or changes.
type Inventory = BTreeSet<String>;

/// What the servers held before the migration.
#[derive(Debug)]
pub struct Before {
    source: Inventory,
    target: Inventory,
}

impl Before {
    /// Looks at both servers; the source serves, the target is its standby.
    ///
    /// # Errors
    /// One of them does not answer.
    pub async fn look(pair: Pair<'_>) -> Result<Self> {
        Ok(Self {
            source: whole(pair.source, pair.datnames).await?,
            target: whole(pair.target, pair.datnames).await?,
        })
    }

    /// What is on the servers that was not there before, and the other way round, once the migration
    /// has `ended`. What ends by itself is given time.
    ///
    /// # Errors
    /// A server does not answer. The one that does not serve is asked only if `other_is_up`.
    pub async fn leftovers(
        &self,
        pair: Pair<'_>,
        ended: &str,
        other_is_up: bool,
    ) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = differences(pair, self, ended, other_is_up).await?;
            if found.is_empty() || Instant::now() > deadline {
                return Ok(found);
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

async fn differences(
    pair: Pair<'_>,
    before: &Before,
    ended: &str,
    other_is_up: bool,
) -> Result<Vec<String>> {
    let Pair {
        source,
        target,
        datnames,
    } = pair;
    let mut found = Vec::new();
    match ended {
        "cancelled" => {
            let (now, was) = (whole(source, datnames).await?, &before.source);
            found.extend(compared(source, &now, was));
            let (now, was) = (whole(target, datnames).await?, &before.target);
            found.extend(compared(target, &now, was));
        }
        "rolled_back" => {
            let now = whole(source, datnames).await?;
            found.extend(compared(source, &now, &without_slots(&before.source)));
            if other_is_up {
                found.extend(kept(target).await?);
            }
        }
        _ => {
            let now = whole(target, datnames).await?;
            found.extend(compared(target, &now, &before.target));
            if other_is_up {
                found.extend(kept(source).await?);
            }
        }
    }
    Ok(found)
}

/// What pins something on a server that is closed and kept.
async fn kept(server: &PostgresServer) -> Result<Vec<String>> {
    let lines = outside_of_databases(server).await?;
    let pins = |line: &&String| {
        ["slot ", "subscription ", "replication origin "]
            .iter()
            .any(|kind| line.starts_with(kind))
    };
    let lines = lines.iter().filter(pins);
    Ok(lines
        .map(|line| format!("{}: {line}", server.name()))
        .collect())
}

fn without_slots(inventory: &Inventory) -> Inventory {
    let lines = inventory.iter();
    lines
        .filter(|line| !line.starts_with("slot "))
        .cloned()
        .collect()
}

fn compared(server: &PostgresServer, now: &Inventory, was: &Inventory) -> Vec<String> {
    let name = server.name();
    let more = now.difference(was).map(|line| format!("{name} has {line}"));
    let less = was
        .difference(now)
        .map(|line| format!("{name} lacks {line}"));
    more.chain(less).collect()
}

/// Everything on `server`; its application databases must be open.
async fn whole(server: &PostgresServer, datnames: &[String]) -> Result<Inventory> {
    let mut found = outside_of_databases(server).await?;
    for datname in datnames.iter().map(String::as_str).chain(["postgres"]) {
        found.extend(lines(server, datname, INSIDE).await?);
    }
    Ok(found)
}

/// What can be seen of a server whose databases are closed.
async fn outside_of_databases(server: &PostgresServer) -> Result<Inventory> {
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

/// What ends by itself has ended by then.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
