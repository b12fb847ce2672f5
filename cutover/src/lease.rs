//! One migration per system identifier: source and target share it, whatever names the
//! catalogue knows them by.

use pointsman_catalog::{
    Catalog,
    store::{Key, Precondition, StoreError, Write},
};
use tracing::warn;

use crate::migration::Migration;

/// Takes the lease, or says who has it.
pub(crate) async fn acquire(
    catalog: &Catalog,
    system_identifier: &str,
    migration: &str,
) -> Result<(), String> {
    let key = key(system_identifier);
    let write = Write {
        key: key.clone(),
        value: Some(migration.as_bytes().to_vec()),
        when: Precondition::Absent,
    };
    let store = catalog.store();
    match store.commit(vec![write]).await {
        Ok(_) => Ok(()),
        Err(StoreError::Conflict { .. }) => match store.get(&key).await {
            Ok(Some(held)) if held.value == migration.as_bytes() => Ok(()),
            Ok(Some(held)) => Err(format!(
                "the server with system identifier {system_identifier} is part of migration {:?}; a \
                 server takes part in one migration at a time",
                String::from_utf8_lossy(&held.value)
            )),
            Ok(None) => Err("the lease was released just now; try again".to_owned()),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Gives the lease back; one that somebody else holds stays theirs.
pub(crate) async fn release(catalog: &Catalog, migration: &Migration) {
    let Some(system_identifier) = &migration.facts.system_identifier else {
        return;
    };
    let key = key(system_identifier);
    let store = catalog.store();
    let Ok(Some(held)) = store.get(&key).await else {
        return;
    };
    if held.value != migration.name.as_bytes() {
        return;
    }
    let write = Write {
        key,
        value: None,
        when: Precondition::At(held.revision),
    };
    if let Err(error) = store.commit(vec![write]).await {
        warn!(migration = %migration.name, "lease not released: {error}");
    }
}

fn key(system_identifier: &str) -> Key {
    Key::new(format!("leases/{system_identifier}"))
}
