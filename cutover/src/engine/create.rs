//! From a request to a plan that leaves nothing to choose.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_catalog::{Catalog, ServerName};

use super::{EngineError, status::Status};
use crate::{
    machine::Machine,
    migration::{Facts, JournalHead, Migration, PlannedDatabase, UnlistedDatabasePolicy, Waiver},
};

/// What `migration create` asks for.
#[derive(Clone, Debug)]
pub struct NewMigration {
    pub name: String,
    pub source: ServerName,
    pub target: ServerName,
    /// Policies of the databases on the source that the catalogue does not list, by `datname`.
    pub unlisted: BTreeMap<String, UnlistedDatabasePolicy>,
    /// What the operator accepts by name.
    pub waived: BTreeSet<Waiver>,
    /// Commits on the target wait for the source in the bake.
    pub durable_way_back: bool,
}

/// `others` are all migrations that there are.
pub(super) async fn plan(
    catalog: &Catalog,
    others: &[Status],
    wanted: NewMigration,
) -> Result<Migration, EngineError> {
    let NewMigration {
        name,
        source,
        target,
        unlisted,
        waived,
        durable_way_back,
    } = wanted;
    check_name(&name)?;
    if source == target {
        return Err(EngineError::Invalid(format!(
            "source and target are both {source}; a migration moves databases between two servers"
        )));
    }
    catalog.server(&source).await?;
    catalog.server(&target).await?;
    for status in others {
        refuse_taken(status, &name, &[&source, &target])?;
    }
    let mut databases = Vec::new();
    for name in catalog.databases_served_by(&source).await? {
        let database = catalog.database(&name).await?;
        databases.push(PlannedDatabase {
            name,
            datname: database.datname,
        });
    }
    if databases.is_empty() {
        return Err(EngineError::Invalid(format!(
            "no database's writer is on {source}, so there is nothing to move; see `database list`"
        )));
    }
    let served = |datname: &String| {
        databases
            .iter()
            .any(|database| database.datname == *datname)
    };
    if let Some(datname) = unlisted.keys().find(|&datname| served(datname)) {
        return Err(EngineError::Invalid(format!(
            "database {datname} is in the catalogue and moves with its server; a policy is for \
             databases that the catalogue does not list"
        )));
    }
    Ok(Migration {
        name,
        source,
        target,
        databases,
        unlisted,
        waived,
        durable_way_back,
        machine: Machine::planned(),
        preflight_passed: None,
        facts: Facts::default(),
        cause: None,
        journal: JournalHead::default(),
    })
}

/// The name becomes part of store keys, session names and file names.
fn check_name(name: &str) -> Result<(), EngineError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain);
    if valid {
        Ok(())
    } else {
        Err(EngineError::Invalid(format!(
            "migration name {name:?} is not allowed: 1 to {MAX_NAME} lower-case letters, digits \
             and '-'"
        )))
    }
}

fn refuse_taken(status: &Status, name: &str, servers: &[&ServerName]) -> Result<(), EngineError> {
    let other = &status.migration;
    if other.name == name {
        return Err(EngineError::Exists(name.to_owned()));
    }
    if other.state().is_over() {
        return Ok(());
    }
    let taken = servers
        .iter()
        .find(|&&server| other.source == *server || other.target == *server);
    match taken {
        Some(&server) => Err(EngineError::ServerTaken {
            server: server.clone(),
            migration: other.name.clone(),
            state: other.state(),
        }),
        None => Ok(()),
    }
}

/// `application_name` is cut at 63 bytes, and carries prefix and epoch besides.
const MAX_NAME: usize = 40;
