//! What a command has left behind, in lines that do not tell when or where in WAL.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use pointsman_lab::postgres::{Inventory, PostgresServer};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::world::{DATNAMES, World};
use crate::migration::Facts;

/// What is known, where new connections go, and what both servers hold.
pub(super) async fn everything(world: &World, facts: &Facts) -> Result<Inventory> {
    let mut lines = BTreeSet::new();
    flatten("facts", &serde_json::to_value(facts)?, &mut lines);
    let routes = world.ports.catalog.routes().await?;
    flatten("routes", &serde_json::to_value(&routes)?, &mut lines);
    lines.extend(on_servers(world).await?);
    Ok(lines)
}

/// What both servers hold. One that is down holds nothing.
pub(super) async fn on_servers(world: &World) -> Result<Inventory> {
    let mut lines = BTreeSet::new();
    let (source, target) = (&world.pair.source, &world.pair.target);
    replayed(source, target).await?;
    for server in [source, target] {
        if server.pid().is_some() {
            let name = server.name();
            let held = on_server(server).await?.into_iter();
            lines.extend(held.map(|line| format!("{name}: {line}")));
            alone(server).await?;
        }
    }
    Ok(lines)
}

/// What only one of both has, with a sign for which.
pub(super) fn differences(before: &Inventory, after: &Inventory) -> Vec<String> {
    let less = before.difference(after).map(|line| format!("- {line}"));
    let more = after.difference(before).map(|line| format!("+ {line}"));
    less.chain(more).collect()
}

/// One line for each value below `path`, but for times and positions.
fn flatten(path: &str, value: &Value, lines: &mut Inventory) {
    match value {
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .filter(|(name, _)| !OF_THE_MOMENT.contains(&name.as_str()));
            for (name, value) in kept {
                flatten(&format!("{path}.{name}"), value, lines);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                flatten(&format!("{path}.{number}"), item, lines);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            lines.insert(format!("{path}: {value}"));
        }
    }
}

async fn on_server(server: &PostgresServer) -> Result<Inventory> {
    let mut lines = server.outside_of_databases().await?;
    lines.extend(server.lines("postgres", OUTSIDE).await?);
    if !server.lines("postgres", FENCED).await?.is_empty() {
        lines.extend(server.lines("postgres", FENCE).await?);
    }
    let open = server.lines("postgres", OPEN).await?;
    for datname in DATNAMES.into_iter().chain(["postgres"]) {
        if open.contains(datname) {
            lines.extend(server.inside_of(datname).await?);
            lines.extend(server.lines(datname, INSIDE).await?);
        }
    }
    Ok(lines)
}

/// A standby has what its primary has once it has replayed it. One that is cut off gets nothing more.
async fn replayed(source: &PostgresServer, target: &PostgresServer) -> Result<()> {
    if source.pid().is_none() || target.pid().is_none() {
        return Ok(());
    }
    let written = source.lines("postgres", WRITTEN).await?;
    let written = written.first().context("a position")?;
    let lacks = format!(
        "SELECT 'behind' FROM pg_stat_wal_receiver WHERE pg_last_wal_replay_lsn() < '{written}'"
    );
    let deadline = Instant::now() + SOON;
    while !target.lines("postgres", &lacks).await?.is_empty() {
        ensure!(Instant::now() < deadline, "never replayed: {written}");
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// The sessions that have looked are gone: a fence would find them.
async fn alone(server: &PostgresServer) -> Result<()> {
    let deadline = Instant::now() + SOON;
    let session = server.client("postgres").await?;
    let pid: i32 = session.query_one(OWN, &[]).await?.get(0);
    while !session.query(LOOKING, &[]).await?.is_empty() {
        ensure!(Instant::now() < deadline, "a session that looked stays");
        sleep(LOOK_AGAIN).await;
    }
    drop(session);
    while Path::new(&format!("/proc/{pid}")).exists() {
        ensure!(Instant::now() < deadline, "the last session stays");
        sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Fields that are a time or a position, or count publishes.
const OF_THE_MOMENT: [&str; 10] = [
    "admitted",
    "epoch",
    "hold_until",
    "lsn",
    "look",
    "opened",
    "promotion_deadline",
    "reach",
    "since",
    "until",
];
const SOON: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

const WRITTEN: &str = "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() \
     ELSE pg_logical_emit_message(true, 'lab', '') END)::text";
const OPEN: &str = "SELECT datname::text FROM pg_database WHERE datallowconn";
const OWN: &str = "SELECT pg_backend_pid()";
const LOOKING: &str = "SELECT FROM pg_stat_activity \
     WHERE application_name = 'lab' AND pid <> pg_backend_pid()";
const FENCED: &str = "SELECT 'there' WHERE to_regclass('pointsman.fence') IS NOT NULL";
const FENCE: &str =
    "SELECT 'fence ' || (to_jsonb(fence) - 'closed_at' - 'epoch')::text FROM pointsman.fence";
const OUTSIDE: &str = "
SELECT format('in recovery: %s', pg_is_in_recovery())
UNION ALL SELECT format('slot %s: %s %s %s', slot_name, slot_type, plugin, database)
    FROM pg_replication_slots
UNION ALL SELECT format('subscription %s: %s %s %s', subname, subenabled, subslotname, subpublications)
    FROM pg_subscription
UNION ALL SELECT format('setting %s: %s', name, setting) FROM pg_settings
    WHERE name IN ('synchronous_standby_names', 'default_transaction_read_only')";
const INSIDE: &str = "
SELECT format('%s: table %s.%s of %s', current_database(), schemaname, tablename, pubname)
    FROM pg_publication_tables
UNION ALL SELECT format('%s: sequence %s at %s', current_database(), sequencename, last_value)
    FROM pg_sequences
UNION ALL SELECT format('%s: %s %s', current_database(), relkind, oid::regclass) FROM pg_class
    WHERE relnamespace = to_regnamespace('pointsman')";
