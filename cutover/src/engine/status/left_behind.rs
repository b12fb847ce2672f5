//! What stays on both servers when an operator abandons a migration.

use crate::{machine::Side, migration::Migration};

pub(super) fn headline(migration: &Migration) -> String {
    let (source, target) = (&migration.source, &migration.target);
    let left = leftovers(migration);
    let left = match left.is_empty() {
        true => "nothing is known to be left there".to_owned(),
        false => format!("what is left there is nobody's now: {}", left.join("; ")),
    };
    format!(
        "abandoned by an operator's word: nothing was touched on {source} or {target}, and routes stay as they \
         are; {left}"
    )
}

/// For a migration that nothing else ends.
pub(super) fn how_to_abandon(migration: &Migration) -> String {
    let (name, source, target) = (&migration.name, &migration.source, &migration.target);
    format!(
        "if {source} and {target} are both down for good, or writers are sent to neither: migration abandon {name} \
         --leave {source} --leave {target}"
    )
}

/// By name, as far as the record knows.
fn leftovers(migration: &Migration) -> Vec<String> {
    let facts = &migration.facts;
    let mut left = Vec::new();
    for side in [Side::Source, Side::Target] {
        if facts.closed(side).is_some() {
            left.push(format!(
                "{} is closed by this migration's fence (pointsman recover lifts it)",
                migration.server(side)
            ));
        }
    }
    if let Ok(stream) = facts.stream() {
        let slots: Vec<_> = stream.slots.iter().map(|slot| slot.slot.as_str()).collect();
        if !slots.is_empty() {
            left.push(format!(
                "slots {} on {} keep WAL there until they are dropped",
                slots.join(", "),
                migration.target
            ));
        }
        let roles = &stream.armed.nologin_roles;
        if !roles.is_empty() {
            left.push(format!(
                "LOGIN was taken on {} from {}",
                migration.source,
                roles.join(", ")
            ));
        }
    }
    if facts.before_durable().is_some() {
        left.push(format!(
            "commits on {0} wait for {1} (synchronous_standby_names on {0})",
            migration.target, migration.source
        ));
    }
    if facts.lease().is_some() {
        left.push(format!(
            "schema pointsman, publication and subscription of the reverse stream on {} and {}",
            migration.source, migration.target
        ));
    }
    left
}
