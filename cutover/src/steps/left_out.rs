//! What the reverse stream does not carry.

use crate::{
    migration::Migration,
    ports::{ControlledServer, ProviderError},
};

/// The tables that the reverse stream leaves out, as `datname.schema.table`.
pub(super) async fn left_out(
    migration: &Migration,
    target: &ControlledServer,
) -> Result<Vec<String>, ProviderError> {
    if migration.facts.no_way_back().is_some() {
        return Ok(Vec::new());
    }
    let moving = migration.moving();
    target.reverse_publisher()?.left_out(&moving).await
}

/// Says what is left out, if anything is.
pub(super) fn not_carried(tables: &[String]) -> Option<String> {
    let first = tables.get(..tables.len().min(SHOWN)).unwrap_or_default();
    let more = match tables.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!tables.is_empty()).then(|| {
        format!(
            "the reverse stream does not carry {}{more}",
            first.join(", ")
        )
    })
}

/// More names make no message clearer.
const SHOWN: usize = 3;
