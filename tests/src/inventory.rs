//! What a server holds besides the applications' rows: a case must leave nothing behind.

use std::time::Duration;

use anyhow::Result;
use pointsman_lab::postgres::{Inventory, PostgresServer};
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
            source: pair.source.inventory(pair.datnames).await?,
            target: pair.target.inventory(pair.datnames).await?,
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
            let (now, was) = (source.inventory(datnames).await?, &before.source);
            found.extend(compared(source, &now, was));
            let (now, was) = (target.inventory(datnames).await?, &before.target);
            found.extend(compared(target, &now, was));
        }
        "rolled_back" => {
            let now = source.inventory(datnames).await?;
            found.extend(compared(source, &now, &without_slots(&before.source)));
            if other_is_up {
                found.extend(kept(target).await?);
            }
        }
        _ => {
            let now = target.inventory(datnames).await?;
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
    let lines = server.outside_of_databases().await?;
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

/// What ends by itself has ended by then.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
