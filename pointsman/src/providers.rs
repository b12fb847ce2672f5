//! Which providers this program has: a new one is named here and nowhere else.

use std::sync::Arc;

use pointsman_cutover::{ports::Providers, providers::postgres::PostgresProvider};

/// Every provider, the more particular ones first.
pub(crate) fn all() -> Providers {
    Providers::new(vec![Arc::new(PostgresProvider)])
}
