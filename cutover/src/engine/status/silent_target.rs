//! What is known, and what is not, while the target of a bake does not answer.

use super::{durability::Durability, left_behind};
use crate::{
    engine::{
        choice::ChoiceName,
        moment::moment,
        target_watch::{Silence, TargetWatch},
    },
    machine::State,
    migration::Migration,
};

/// The silence of the target, in a bake.
pub(super) fn silence<'a>(migration: &Migration, watch: &'a TargetWatch) -> Option<&'a Silence> {
    let baking = matches!(migration.state(), State::Baking { .. });
    watch.silence().filter(|_| baking)
}

pub(super) fn headline(migration: &Migration, silence: &Silence, watch: &TargetWatch) -> String {
    let target = &migration.target;
    let (since, reason) = (moment(silence.since), &silence.reason);
    let clients = clients(migration, watch);
    if silence.is_starting {
        return format!(
            "{target} lets nobody in since {since} ({reason}){clients}: all is as before when it is through \
             with that, so wait; no alarm goes back by itself"
        );
    }
    format!(
        "{target} does not answer since {since} ({reason}){clients}: whether it serves is not known, and no \
         alarm goes back by itself; all is as before when it answers again, else an operator decides: see the \
         choices"
    )
}

/// Who is held, until when, and what comes after that; or why nobody is.
fn clients(migration: &Migration, watch: &TargetWatch) -> String {
    if let Some(why) = watch.not_held() {
        return format!("; nobody is held: {why}");
    }
    let Some(since) = migration.machine.held_since() else {
        return String::new();
    };
    let target = &migration.target;
    let until = migration.facts.hold_until();
    let until = until.map_or_else(|| "the end of the hold".to_owned(), moment);
    format!(
        "; new connections are held since {} until {until}, are refused from then on, and go to {target} as soon \
         as it serves again",
        moment(since)
    )
}

/// Nothing is proven of a server that does not answer.
pub(super) fn way_back(
    migration: &Migration,
    silence: &Silence,
    watch: &TargetWatch,
    durability: &Durability,
) -> String {
    let Migration { name, target, .. } = migration;
    // It cannot have acknowledged anything under another setting since.
    let promise = durability.promise(migration);
    let lost = promise.unwrap_or_else(|| watch.not_countable(migration));
    format!(
        "none that is proven, since {target} does not answer since {}; {}; by an operator's word that \
         {target} is down for good: migration resolve {name} --choice {}; {}",
        moment(silence.since),
        lost,
        ChoiceName::OpenSourceUnproven,
        left_behind::how_to_abandon(migration)
    )
}
