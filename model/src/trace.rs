//! How a world was come to.

use serde::Serialize;

use crate::{action::Action, world::World};

/// What happened, in order, and where the migration stood after it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Trace(pub Vec<String>);

impl Trace {
    /// Of worlds, each with the action that follows.
    pub(crate) fn of(path: Vec<(World, Option<Action>)>) -> Self {
        let mut lines = Vec::new();
        let mut happened = None;
        for (world, next) in path {
            if let Some(action) = happened {
                lines.push(line(action, &world));
            }
            happened = next;
        }
        Self(lines)
    }

    /// Of the actions that begin in `world`, and of those in the calm behind them.
    pub(crate) fn replayed(world: World, actions: &[Action], in_the_calm: &[Action]) -> Self {
        let mut lines = Vec::new();
        let world = go(world, actions, &mut lines);
        go(world.calm(), in_the_calm, &mut lines);
        Self(lines)
    }
}

fn go(mut world: World, actions: &[Action], lines: &mut Vec<String>) -> World {
    for &action in actions {
        let Some(next) = world.after(action) else {
            break;
        };
        world = next;
        lines.push(line(action, &world));
    }
    world
}

fn line(action: Action, world: &World) -> String {
    let state = |process: Option<crate::Process>| {
        process.map_or_else(
            || "-".to_owned(),
            |process| {
                let at = process.at;
                let pending = process.pending;
                let waits = pending.map_or_else(String::new, |event| format!(" {event:?}"));
                format!("{:?} at {at}{waits}", process.record.machine.state())
            },
        )
    };
    let (source, target) = (&world.source, &world.target);
    let stale = world.stale.map_or_else(String::new, |process| {
        format!("; stale {}", state(Some(process)))
    });
    format!(
        "{action:?} => {}{stale}; source {:?} {:?}; target {:?} {} {:?}; {:?}",
        state(world.leader),
        source.power,
        source.access,
        target.power,
        if target.is_primary {
            "primary"
        } else {
            "standby"
        },
        target.access,
        world.route,
    )
}
