//! Which providers this program has: a new one is named here and nowhere else.

use std::sync::Arc;

use pointsman_cutover::{
    checks::CheckSet,
    ports::Providers,
    providers::postgres::{CHECKS, PostgresProvider, SecretSources},
};

/// What the roles of a server need, as SQL.
pub(crate) use pointsman_cutover::providers::postgres::{Grants, Management, RoleNames};

/// Every provider, the more particular ones first. Connection strings may name what `secrets` has.
pub(crate) fn all(secrets: SecretSources) -> Providers {
    Providers::new(vec![Arc::new(PostgresProvider::new(secrets))])
}

/// Their checks, and those that need no server.
pub(crate) fn checks() -> CheckSet {
    CheckSet::new(CHECKS)
}
