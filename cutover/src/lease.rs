//! One migration per system identifier. Source and target share it, also if the catalogue
//! has other names for them.

use pointsman_catalog::{
    Catalog,
    store::{
        Key, Precondition, Revision, StoreError, Write,
        record::{Format, Record, decode, encode},
    },
};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::migration::Migration;

/// Who holds the servers of a system identifier.
#[derive(Debug, Deserialize, Serialize)]
struct Lease {
    migration: String,
}

impl Record for Lease {
    const FORMAT: Format = Format(1);
}

/// Why the lease was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    #[error(
        "the server with system identifier {system_identifier} is part of migration {migration:?}; \
         a server takes part in one migration at a time"
    )]
    Taken {
        system_identifier: String,
        migration: String,
    },
    #[error("the lease was released just now; try again")]
    Released,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes the lease for `migration`, which may hold it already.
pub(crate) async fn acquire(
    catalog: &Catalog,
    system_identifier: &str,
    migration: &str,
) -> Result<(), LeaseError> {
    let key = key(system_identifier);
    let wanted = Lease {
        migration: migration.to_owned(),
    };
    let write = Write {
        value: Some(encode(&key, &wanted)?),
        key: key.clone(),
        when: Precondition::Absent,
    };
    match catalog.store().commit(vec![write]).await {
        Ok(_) => return Ok(()),
        Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    confirm(catalog, system_identifier, migration).await
}

/// Reads again that `migration` holds the lease.
pub(crate) async fn confirm(
    catalog: &Catalog,
    system_identifier: &str,
    migration: &str,
) -> Result<(), LeaseError> {
    let held = held(catalog, system_identifier).await?;
    let (held, _) = held.ok_or(LeaseError::Released)?;
    if held.migration == migration {
        return Ok(());
    }
    Err(LeaseError::Taken {
        system_identifier: system_identifier.to_owned(),
        migration: held.migration,
    })
}

/// Which other migration has the servers of `migration` now, if any.
pub(crate) async fn held_by_another(
    catalog: &Catalog,
    migration: &Migration,
) -> Result<Option<String>, StoreError> {
    let Some(system_identifier) = migration.facts.lease() else {
        return Ok(None);
    };
    let held = held(catalog, system_identifier).await?;
    let holder = held.map(|(held, _)| held.migration);
    Ok(holder.filter(|holder| *holder != migration.name))
}

/// Gives the lease back; one that somebody else holds stays theirs.
pub(crate) async fn release(catalog: &Catalog, migration: &Migration) {
    if let Err(error) = try_release(catalog, migration).await {
        warn!(migration = %migration.name, "lease not released: {error}");
    }
}

async fn try_release(catalog: &Catalog, migration: &Migration) -> Result<(), StoreError> {
    let Some(system_identifier) = migration.facts.lease() else {
        return Ok(());
    };
    let Some((held, revision)) = held(catalog, system_identifier).await? else {
        return Ok(());
    };
    if held.migration != migration.name {
        return Ok(());
    }
    let write = Write {
        key: key(system_identifier),
        value: None,
        when: Precondition::At(revision),
    };
    catalog.store().commit(vec![write]).await?;
    Ok(())
}

/// The lease as it stands, with the revision that it was written at.
async fn held(
    catalog: &Catalog,
    system_identifier: &str,
) -> Result<Option<(Lease, Revision)>, StoreError> {
    let key = key(system_identifier);
    let Some(stored) = catalog.store().get(&key).await? else {
        return Ok(None);
    };
    Ok(Some((decode(&key, &stored.value)?, stored.revision)))
}

fn key(system_identifier: &str) -> Key {
    Key::new(format!("leases/{system_identifier}"))
}
