//! What is known of the server that was left, once the migration has ended.

use super::left_source::NotKnown;
use crate::{engine::moment::moment, migration::Migration};

/// The part of the headline.
pub(super) fn headline(migration: &Migration) -> String {
    let seen = migration.state().left_for_good().and_then(|side| {
        let watch = migration.facts.watch(side)?;
        let server = migration.server(side);
        (watch.is_disturbed()).then(|| format!("; {server} was not left alone: {watch}"))
    });
    seen.unwrap_or_default()
}

/// What is not known.
pub(super) fn warning(migration: &Migration, not_known: Option<&NotKnown>) -> Option<String> {
    let server = migration.server(migration.state().left_for_good()?);
    let not_known = not_known?;
    Some(format!(
        "whether {server} is still closed is not known since {}: {}",
        moment(not_known.since),
        not_known.why
    ))
}
