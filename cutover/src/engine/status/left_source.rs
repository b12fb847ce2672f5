//! What is known of the source that was left, in a bake.

use super::{BakeView, WayBack, WayBackKind, promotion::moment};
use crate::{machine::LeftSource, migration::Migration};

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
fn not_known(migration: &Migration, view: &BakeView) -> Option<String> {
    let not_known = view.source_not_known.as_ref()?;
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
pub(super) fn warning(migration: &Migration, view: &BakeView) -> Option<String> {
    let seen = seen(migration).map(|seen| format!("{seen}; no alarm goes back by itself"));
    seen.or_else(|| not_known(migration, view))
}

/// A way back is called lossless only as long as the source was left alone, and is known to have
/// been.
pub(super) fn way_back(migration: &Migration, view: &BakeView, way_back: WayBack) -> WayBack {
    let name = &migration.name;
    if let Some(seen) = seen(migration) {
        let message = match way_back.kind {
            WayBackKind::AcceptLoss => format!("{}; {seen}", way_back.message),
            _ => format!(
                "over the reverse stream, by rollback --accept-loss alone: {seen}; look at what was \
                 written there before you go back or complete (migration complete {name} \
                 --accept-loss)"
            ),
        };
        return WayBack {
            lossless: false,
            writes_at_risk: None,
            message,
            ..way_back
        };
    }
    if let Some(not_known) = not_known(migration, view) {
        return WayBack {
            lossless: false,
            writes_at_risk: None,
            message: format!("{}; {not_known}", way_back.message),
            ..way_back
        };
    }
    if view.source_unreadable && way_back.lossless {
        let message = format!(
            "{}; who writes on {} meanwhile is not known: its WAL cannot be read",
            way_back.message, migration.source
        );
        return WayBack {
            message,
            ..way_back
        };
    }
    way_back
}
