//! What is known of the source that was left, in a bake.

use pointsman_catalog::UnixMillis;

use crate::{
    engine::moment::moment,
    machine::LeftSource,
    migration::{Migration, ServerWatch},
};

/// What is not known of it.
#[derive(Clone, Debug, Default)]
pub(in crate::engine) struct SourceView {
    /// This process has looked at it in this bake.
    pub(in crate::engine) looked: bool,
    /// Since when nobody knows who writes there, and why.
    pub(in crate::engine) not_known: Option<NotKnown>,
    /// Nothing tells whose a transaction there is.
    pub(in crate::engine) unreadable: bool,
}

/// What could not be looked at.
#[derive(Clone, Debug)]
pub(in crate::engine) struct NotKnown {
    pub(in crate::engine) since: UnixMillis,
    pub(in crate::engine) why: String,
}

impl NotKnown {
    /// What is not known now, since when it was not known `before`.
    pub(in crate::engine) fn still(
        before: Option<Self>,
        why: Option<String>,
        now: UnixMillis,
    ) -> Option<Self> {
        let since = before.map_or(now, |before| before.since);
        why.map(|why| Self { since, why })
    }
}

/// What can be said of it, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Known {
    LeftAlone,
    Disturbed(String),
    Unknown(String),
}

/// What was seen there, where an operator has to look at it.
fn seen(migration: &Migration) -> Option<String> {
    let (source, left) = (&migration.source, migration.machine.left_source());
    if left == LeftSource::Quiet {
        return None;
    }
    let watch = migration.facts.source_watch();
    let watch = watch.map_or_else(String::new, ToString::to_string);
    Some(format!("{source} was not left alone in the bake: {watch}"))
}

/// What is not known, in words.
fn not_known(migration: &Migration, view: &SourceView) -> Option<String> {
    let not_known = view.not_known.as_ref()?;
    Some(format!(
        "who has written on {} since {} is not known: {}",
        migration.source,
        moment(not_known.since),
        not_known.why
    ))
}

/// The part of the headline.
pub(super) fn headline(migration: &Migration) -> String {
    match migration.machine.left_source() {
        LeftSource::Quiet => String::new(),
        LeftSource::Disturbed | LeftSource::Accepted => {
            format!("; {} was not left alone, see `way back`", migration.source)
        }
    }
}

/// Why no alarm goes back by itself.
pub(super) fn warning(migration: &Migration, view: &SourceView) -> Option<String> {
    let seen = seen(migration).map(|seen| format!("{seen}; no alarm goes back by itself"));
    seen.or_else(|| not_known(migration, view))
}

/// What can be said of it now.
pub(super) fn known(migration: &Migration, view: &SourceView) -> Known {
    let (name, source) = (&migration.name, &migration.source);
    if let Some(seen) = seen(migration) {
        return Known::Disturbed(format!(
            "{seen}; look at what was written there before you go back or complete (migration \
             complete {name} --accept-loss)"
        ));
    }
    if let Some(not_known) = not_known(migration, view) {
        return Known::Unknown(not_known);
    }
    if !view.looked {
        return Known::Unknown(format!(
            "who has written on {source} is not known yet: it is looked at now"
        ));
    }
    if view.unreadable {
        return Known::Unknown(format!(
            "who writes on {source} meanwhile is not known: its WAL cannot be read, and it does not keep \
             the origin of each transaction (track_commit_timestamp)"
        ));
    }
    if let Some(untold) = untold(migration) {
        return Known::Unknown(untold);
    }
    Known::LeftAlone
}

/// The transactions on it that may be somebody's write or nobody's, in words.
fn untold(migration: &Migration) -> Option<String> {
    let source = &migration.source;
    let untold = migration.facts.source_watch()?.untold()?;
    Some(format!(
        "whether others wrote on {source} is not known: {untold} there carry no origin of the reverse \
         stream, and an id does not tell a write from an automatic ANALYZE, or from what is done in a \
         database that cannot be closed"
    ))
}

/// By what it stands that nobody else wrote there.
pub(super) fn method(migration: &Migration) -> String {
    let by = migration.facts.source_watch().and_then(ServerWatch::by);
    by.map_or_else(String::new, |by| {
        format!("; nobody else wrote on {}, proved {by}", migration.source)
    })
}
