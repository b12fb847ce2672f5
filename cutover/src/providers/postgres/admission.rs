//! The way of the control role, and of nobody else, into databases of a fenced server.

use std::collections::BTreeMap;

use super::{
    acl::{self, Acl},
    control_sessions::ControlSessions,
    powers::Door,
    record,
    statements::admit_control,
};
use crate::ports::{DatabaseSettings, ProviderError};

/// Opens `datnames` to the control role and superusers.
///
/// # Errors
/// [`ProviderError::Unfit`] where an access list would be changed that is not on record.
pub(super) async fn admit(
    control: &ControlSessions,
    what: &str,
    datnames: &[String],
) -> Result<(), ProviderError> {
    let acls = match control.powers.door() {
        Door::Limit => BTreeMap::new(),
        Door::AccessList => {
            on_record(control, datnames).await?;
            let datnames: Vec<&str> = datnames.iter().map(String::as_str).collect();
            acl::read(&control.postgres, &datnames).await?
        }
    };
    let statements = admit_control(datnames, &control.powers, &acls);
    control.postgres.transaction(what, &statements).await
}

/// What the fence did not write down could not be given back.
async fn on_record(control: &ControlSessions, datnames: &[String]) -> Result<(), ProviderError> {
    let records = record::read_all(&control.postgres).await?;
    let known = |datname: &String| {
        let mut records = records.iter();
        records.any(|record| record.former.acls.contains_key(datname))
    };
    match datnames.iter().find(|datname| !known(datname)) {
        None => Ok(()),
        Some(datname) => Err(control.unfit(format!(
            "the fence record does not hold the access list of database {datname}, which would \
             have to be changed to let the control role in; it was written by a superuser, or by \
             an older engine: use a superuser as the control role until this migration has ended"
        ))),
    }
}

/// Shuts each access list that a switch will change and puts it back, in a transaction that is
/// rolled back: what could not be put back must show before anything is closed.
pub(super) async fn rehearse(
    control: &ControlSessions,
    databases: &[DatabaseSettings],
) -> Result<(), ProviderError> {
    let lists = changeable(control, databases).await?;
    if lists.is_empty() {
        return Ok(());
    }
    let tried = try_lists(control, &lists).await;
    control.postgres.batch("roll back", "ROLLBACK").await?;
    tried.map_err(|error| {
        control.unfit(format!(
            "a switch would take CONNECT from everybody but the control role and could not give it \
             back as it is: {error}; grant it by the database's owner alone, or make the control \
             role a member of the role that granted it"
        ))
    })
}

/// The access lists of the databases that are shut by them, in a switch or in its bake.
pub(super) async fn changeable(
    control: &ControlSessions,
    databases: &[DatabaseSettings],
) -> Result<BTreeMap<String, Acl>, ProviderError> {
    let powers = &control.powers;
    if powers.door() == Door::Limit {
        return Ok(BTreeMap::new());
    }
    let shut: Vec<_> = databases
        .iter()
        .filter(|database| database.allow_connections && powers.owns(&database.datname))
        .map(|database| database.datname.as_str())
        .collect();
    acl::read(&control.postgres, &shut).await
}

async fn try_lists(
    control: &ControlSessions,
    lists: &BTreeMap<String, Acl>,
) -> Result<(), ProviderError> {
    let (what, role) = ("try its access lists", &control.powers.role);
    let shut: Vec<String> = lists
        .iter()
        .flat_map(|(datname, list)| list.shut(datname, role))
        .collect();
    let sql = format!("BEGIN; {}", shut.join("; "));
    control.postgres.batch(what, &sql).await?;
    let datnames: Vec<&str> = lists.keys().map(String::as_str).collect();
    let now = acl::read(&control.postgres, &datnames).await?;
    let restore: Vec<String> = now
        .iter()
        .filter_map(|(datname, now)| Some(now.restore(datname, &lists.get(datname)?.items)))
        .flatten()
        .collect();
    control.postgres.batch(what, &restore.join("; ")).await?;
    Ok(())
}
