//! What must hold, while it runs and at the end.

use pointsman_catalog::{Route, ServerName};
use pointsman_cutover::{
    Status,
    journal::{EntryKind, Replay, Verdict},
    machine::{Side, State},
};

use crate::{
    ledger::{
        By, GOES_THROUGH, HOLDS_END, IT_ENDS, NOTHING_LEFT, NOTHING_LOST, ON_RECORD, RESTS, Row,
        STATUS_IS_TRUE, side_name,
    },
    operator::Operator,
    server::{MOVING, Server},
    world::World,
};

/// What a status says is so.
pub(crate) fn while_it_runs(world: &mut World, status: &Status) {
    rests_where_it_says(world, status);
    let is_baking = matches!(status.migration.state(), State::Baking { .. });
    if !is_baking || status.not_driven.is_some() || !status.way_back.lossless {
        return;
    }
    let unreturned: Vec<_> = world.ledger.unreturned.iter().copied().collect();
    for index in unreturned {
        let row = &world.ledger.rows[index];
        let has = world.blue.tables.rows.get(row.database);
        if has.is_some_and(|rows| rows.contains(&row.id)) {
            world.ledger.unreturned.remove(&index);
            continue;
        }
        let oid = world
            .green
            .tables
            .databases
            .get(row.database)
            .map_or(0, |it| it.oid);
        let slot = world.green.slots.get(&format!("pointsman_rb_{oid}"));
        let is_held = slot.is_some_and(|slot| slot.confirmed < row.lsn);
        // A look at the stream comes a little later.
        let lost = world.slot_lost_at.map_or(0, |lost| lost + LOOK);
        let is_fresh = world.now() < lost.max(row.at.max(world.disturbed_at) + LOOK);
        if row.acknowledged && !is_held && !is_fresh {
            let what = format!(
                "row {} of {} is on the target alone and in no slot: {}",
                row.id, row.database, status.way_back.message
            );
            world.ledger.violated(STATUS_IS_TRUE, what);
        }
    }
    strangers_are_seen(world, status);
}

/// Another switch may follow, so the target is a standby still.
fn rests_where_it_says(world: &mut World, status: &Status) {
    let state = status.migration.state();
    let is_standby = world.green.in_recovery && !world.green.promoting;
    if matches!(state, State::Prepared | State::Undone) && !is_standby && !world.promoted_by_hand {
        let what = format!("{}: the target is no standby any more", status.headline);
        world.ledger.violated(RESTS, what);
    }
}

/// Whoever wrote on the source in the bake is named within the time of a few looks.
fn strangers_are_seen(world: &mut World, status: &Status) {
    let now = world.now();
    if now < world.disturbed_at + SEEN {
        return;
    }
    let mut unseen = world.ledger.rows.iter().filter(|row| {
        let lacks = world.green.tables.rows.get(row.database);
        let lacks = lacks.is_some_and(|rows| !rows.contains(&row.id));
        row.side == Side::Source && row.by == By::Stranger && lacks && now > row.at + SEEN
    });
    if let Some(row) = unseen.next() {
        let what = format!(
            "row {} of {} was written on the source {} ms ago by somebody else, and the way back is \
             called lossless: {}",
            row.id,
            row.database,
            (now - row.at) / 1000,
            status.way_back.message
        );
        world.ledger.violated(STATUS_IS_TRUE, what);
    }
}

/// Nothing went wrong, so no step fails, and the way back loses nothing.
pub(crate) fn undisturbed(world: &mut World, status: Option<&Status>) {
    let entries = status.map(|status| status.entries.iter());
    let bad = entries
        .into_iter()
        .flatten()
        .find(|entry| entry.kind == EntryKind::Failed || entry.message.contains("not lossless"));
    if let Some(entry) = bad {
        let what = format!("{}: {}", entry.step, entry.message);
        world.ledger.violated(GOES_THROUGH, what);
    }
    let rolled_back = status.is_some_and(|it| it.migration.state() == State::RolledBack);
    let (former, now) = (&world.former_synchronous, &world.green.synchronous.file);
    if rolled_back && former != now {
        let what = format!("the target's synchronous_standby_names is '{now}', it was '{former}'");
        world.ledger.violated(NOTHING_LEFT, what);
    }
}

/// How it ended.
pub(crate) fn at_the_end(
    world: &mut World,
    status: Option<&Status>,
    record: Option<&Replay>,
    operator: &Operator,
) {
    let Some(status) = status else {
        world
            .ledger
            .violated(IT_ENDS, "there is no status at the end");
        return;
    };
    if let Some(not_driven) = &status.not_driven {
        world.ledger.violated(IT_ENDS, not_driven.clone());
    }
    if !status.migration.state().is_over() {
        let what = format!("{} (refused: {})", status.headline, operator.last_refusal);
        world.ledger.violated(IT_ENDS, what);
    }
    match record {
        Some(replay) if replay.verdict() == Verdict::Pass => {}
        Some(replay) => world
            .ledger
            .violated(ON_RECORD, format!("{:?}", replay.violations)),
        None => world
            .ledger
            .violated(ON_RECORD, "the journal cannot be read"),
    }
    holds_have_ended(world);
    if status.migration.state().is_over() {
        nothing_is_lost(world, status, operator);
        nothing_is_left(world, status);
    }
}

fn holds_have_ended(world: &mut World) {
    let held = world.fleet.newest().iter().find_map(|(name, routes)| {
        let is_held = |route: &Route| matches!(route, Route::Hold { .. });
        let found = is_held(&routes.writer) || is_held(&routes.reader);
        found.then(|| format!("{name} is {}", routes.writer))
    });
    if let Some(held) = held {
        world.ledger.violated(HOLDS_END, held);
    }
}

/// The server that the routes send writers to.
fn writer(world: &World) -> Option<Side> {
    let mut sides = world.fleet.newest().values().map(|routes| {
        let serving = routes.writer.serving();
        match serving.first().map(ServerName::as_str) {
            Some("blue") => Some(Side::Source),
            Some("green") => Some(Side::Target),
            Some(_) | None => None,
        }
    });
    let first = sides.next()??;
    sides.all(|side| side == Some(first)).then_some(first)
}

fn nothing_is_lost(world: &mut World, status: &Status, operator: &Operator) {
    let Some(side) = writer(world) else {
        world
            .ledger
            .violated(IT_ENDS, "the routes send writers to no one server");
        return;
    };
    let server = world.server(side);
    for database in MOVING {
        if !server.accepts_writes(database) {
            let what = format!(
                "{database} is served by the {}, which is closed",
                side_name(side)
            );
            world.ledger.violated(IT_ENDS, what);
            return;
        }
    }
    if !operator.accepted.is_empty() {
        return;
    }
    if world.commits_wait(side) && !world.promoted_by_hand {
        let names = &server.synchronous.in_force;
        let what = format!(
            "commits on the {} wait for '{names}', which is not connected",
            side_name(side)
        );
        world.ledger.violated(IT_ENDS, what);
        return;
    }
    let named = is_named(status);
    let has = |row: &Row| {
        let rows = server.tables.rows.get(row.database);
        rows.is_some_and(|rows| rows.contains(&row.id))
    };
    let excused = |row: &Row| {
        let is_strangers = row.by == By::Stranger || world.ledger.was_lifted_before(row);
        let by_hand = world.promoted_by_hand && row.side == Side::Target;
        by_hand || is_strangers && (named || world.is_behind_the_last_look(row))
    };
    let mut lost = world.ledger.rows.iter();
    let lost = lost.find(|row| row.acknowledged && !has(row) && !excused(row));
    let what = lost.map(|row| {
        format!(
            "row {} of {}, acknowledged on the {} at {} ms by {:?}, is not on the {}",
            row.id,
            row.database,
            side_name(row.side),
            row.at / 1000,
            row.by,
            side_name(side)
        )
    });
    let what = what.or_else(|| behind(world, side));
    if let Some(what) = what {
        world.ledger.violated(NOTHING_LOST, what);
    }
}

/// A sequence that would give a number again.
fn behind(world: &World, side: Side) -> Option<String> {
    let server = world.server(side);
    let mut rows = world.ledger.rows.iter().filter(|row| {
        let rows = server.tables.rows.get(row.database);
        rows.is_some_and(|rows| rows.contains(&row.id)) && row.by == By::Application
    });
    let found = rows.find(|row| {
        let value = server.tables.sequences.get(row.database).copied();
        value.unwrap_or_default() < row.number
    })?;
    Some(format!(
        "the sequence of {} on the {} is behind row {} with number {}",
        found.database,
        side_name(side),
        found.id,
        found.number
    ))
}

/// Whether the record says that somebody else was there.
fn is_named(status: &Status) -> bool {
    status.entries.iter().any(|entry| {
        let said = &entry.message;
        NAMED.iter().any(|words| said.contains(words))
    })
}

fn nothing_is_left(world: &mut World, status: &Status) {
    let says_so = status
        .entries
        .iter()
        .any(|entry| entry.message.contains("left behind"));
    if says_so || !world.ledger.lifted.is_empty() || world.green_is_gone || world.blue_is_gone {
        return;
    }
    let state = status.migration.state();
    let mut left = Vec::new();
    match state {
        State::Completed => {
            traces(&world.green, &mut left);
            closed(&world.blue, &mut left);
        }
        State::RolledBack => {
            traces(&world.blue, &mut left);
            closed(&world.green, &mut left);
            slots(&world.green, &mut left);
        }
        State::Cancelled => traces(&world.blue, &mut left),
        State::Planned
        | State::SettingUp
        | State::Prepared
        | State::Switching { .. }
        | State::Promoting { .. }
        | State::Undoing { .. }
        | State::Undone
        | State::Baking { .. }
        | State::Completing
        | State::Cancelling
        | State::Abandoned
        | State::NeedsOperator { .. } => {}
    }
    let leases = world.disk.values.keys();
    let leases = leases.filter(|key| key.as_str().starts_with("leases/"));
    left.extend(leases.map(|key| format!("the store has {key}")));
    if let Some(left) = left.first() {
        let what = format!("{}: {left}", state.label());
        world.ledger.violated(NOTHING_LEFT, what);
    }
}

/// What is left of a migration on the server that serves.
fn traces(server: &Server, left: &mut Vec<String>) {
    let name = &server.name;
    let tables = &server.tables;
    if tables.fences.is_some() {
        left.push(format!("{name} has the fence table"));
    }
    for (what, there) in [
        ("a publication", !tables.publications.is_empty()),
        ("a probe table", !tables.probes.is_empty()),
        ("a subscription", !tables.subscriptions.is_empty()),
        ("the rules of the fence", server.rules.file_is_fenced),
    ] {
        if there {
            left.push(format!("{name} has {what}"));
        }
    }
    for (role, found) in &tables.roles {
        if !found.login {
            left.push(format!("role {role} cannot log in to {name}"));
        }
    }
    for settings in tables.databases.values() {
        if !settings.allow_connections || settings.connection_limit != -1 {
            left.push(format!("{name} has {settings:?}"));
        }
    }
    slots(server, left);
}

fn slots(server: &Server, left: &mut Vec<String>) {
    let reverse = server
        .slots
        .keys()
        .filter(|slot| slot.starts_with("pointsman"));
    left.extend(reverse.map(|slot| format!("{} has slot {slot}", server.name)));
}

fn closed(server: &Server, left: &mut Vec<String>) {
    let open = MOVING
        .into_iter()
        .filter(|database| server.accepts_writes(database));
    left.extend(open.map(|database| format!("{database} of {} is open", server.name)));
}

/// Between two looks at the reverse stream, with what the first of them may have missed.
const LOOK: u64 = 1_500_000;
/// Within this time the source was looked at again: every two seconds, and a look takes up to three.
const SEEN: u64 = 6_000_000;
const NAMED: [&str; 6] = [
    "behind the fence",
    "not left alone",
    "does not hold",
    "may have been written to",
    "by hand",
    "others did",
];
