//! What is known of the server that was left, once the migration has ended.

use super::left_source::NotKnown;
use crate::{
    engine::moment::moment,
    machine::{Assertion, Side},
    migration::{Migration, ServerWatch},
    steps::CAME_BACK,
};

/// The headline behind a rollback.
pub(super) fn rolled_back(migration: &Migration, cause: &str) -> String {
    let (source, target) = (&migration.source, &migration.target);
    let was_closed = migration.facts.closed(Side::Target).is_some();
    if migration.machine.holds(Assertion::TargetDown) && !was_closed {
        return format!(
            "{source} serves again; an operator asserted that {target} is down for good, and nothing \
             closed it: keep it down, and rebuild it: {cause}"
        );
    }
    let seen = seen(migration, Side::Target);
    format!("{source} serves again; {target} is closed until it is rebuilt: {cause}{seen}")
}

/// The headline behind a completion. A source that an operator took for gone could not be closed.
pub(super) fn completed(migration: &Migration) -> String {
    let (source, target) = (&migration.source, &migration.target);
    let is_back = |watch: &ServerWatch| watch.knows(CAME_BACK);
    let came_back = migration.facts.source_watch().is_some_and(is_back);
    let kept = match migration.machine.holds(Assertion::SourceDown) && !came_back {
        true => "left as it was, since an operator said that it is gone",
        false => "closed and kept",
    };
    let seen = seen(migration, Side::Source);
    format!("{target} serves; {source} is {kept}{seen}")
}

/// What was seen on it since.
fn seen(migration: &Migration, side: Side) -> String {
    let server = migration.server(side);
    if migration.facts.closed(side).is_none() {
        return format!("; {server} is not looked at any more");
    }
    let watch = migration.facts.watch(side);
    let seen = watch.filter(|watch| watch.is_disturbed());
    seen.map_or_else(String::new, |watch| {
        format!("; {server} was not left alone: {watch}")
    })
}

/// What is not known.
pub(super) fn warning(migration: &Migration, not_known: Option<&NotKnown>) -> Option<String> {
    let server = migration.server(migration.state().left_for_good()?);
    let not_known = not_known?;
    Some(format!(
        "whether {server} is left alone is not known since {}: {}",
        moment(not_known.since),
        not_known.why
    ))
}
