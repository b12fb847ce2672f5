//! What is known, and what is not, while the target of a bake does not answer.

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

pub(super) fn headline(migration: &Migration, silence: &Silence) -> String {
    let target = &migration.target;
    format!(
        "{target} does not answer since {} ({}): whether it serves is not known, and no alarm goes back \
         by itself; all is as before when it answers again, else an operator decides: see the choices",
        moment(silence.since),
        silence.reason
    )
}

/// Nothing is proven of a server that does not answer.
pub(super) fn way_back(migration: &Migration, silence: &Silence, watch: &TargetWatch) -> String {
    let Migration { name, target, .. } = migration;
    format!(
        "none that is proven, since {target} does not answer since {}; {}; by an operator's word that \
         {target} is down for good: migration resolve {name} --choice {}",
        moment(silence.since),
        watch.not_countable(migration),
        ChoiceName::OpenSourceUnproven
    )
}
