//! Which providers this program has: a new one is named here and nowhere else.

use std::sync::Arc;

use pointsman_cutover::{
    checks::CheckSet,
    ports::{DatabaseProvider, Providers},
    providers::postgres::{CHECKS, PostgresProvider},
};

/// What connection strings may name, and what the roles of a server need, as SQL.
pub(crate) use pointsman_cutover::providers::postgres::{
    Grants, Management, RoleNames, SecretSources,
};

/// Makes the providers of a program that has more of them; each may reach servers through the
/// one that speaks SQL.
pub type MoreProviders = fn(&Arc<dyn DatabaseProvider>) -> anyhow::Result<OwnProviders>;

type OwnProviders = Vec<Arc<dyn DatabaseProvider>>;

/// Every provider, the more particular ones first. Connection strings may name what `secrets` has.
pub(crate) fn all(secrets: SecretSources, more: MoreProviders) -> anyhow::Result<Providers> {
    let sql: Arc<dyn DatabaseProvider> = Arc::new(PostgresProvider::new(secrets));
    let mut providers = more(&sql)?;
    providers.push(sql);
    Ok(Providers::new(providers))
}

/// This program has no more.
pub(crate) fn no_more(_sql: &Arc<dyn DatabaseProvider>) -> anyhow::Result<OwnProviders> {
    Ok(Vec::new())
}

/// Their checks, and those that need no server.
pub(crate) fn checks() -> CheckSet {
    CheckSet::new(CHECKS)
}
