//! Which providers this program has: a new one is named here and nowhere else.

use std::sync::Arc;

use pointsman_cutover::{
    checks::CheckSet,
    ports::Providers,
    providers::postgres::{CHECKS, PostgresProvider},
};

/// Every provider, the more particular ones first.
pub(crate) fn all() -> Providers {
    Providers::new(vec![Arc::new(PostgresProvider)])
}

/// Their checks, and those that need no server.
pub(crate) fn checks() -> CheckSet {
    CheckSet::new(CHECKS)
}
