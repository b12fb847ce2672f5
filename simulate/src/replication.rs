//! What goes from one server to the other: WAL forward, rows backward.

use std::sync::Arc;

use pointsman_cutover::machine::Side;

use crate::{
    server::{CONTROL, Kind, Server},
    tables::Change,
    world::World,
};

/// How many transactions of the reverse stream are applied at a time.
const AT_A_TIME: usize = 8;

impl World {
    /// The standby receives and replays what its primary has, again and again.
    pub(crate) fn replicate(&mut self) {
        if self.ended {
            return;
        }
        let pause = self.some(300..2_500);
        self.after(pause, Self::replicate);
        self.receive();
        let is_held = self.now() < self.replay_stands_until || self.green.promoting;
        if !is_held {
            self.replay_what_is_received();
        }
    }

    /// Its primary sends what it has.
    fn receive(&mut self) {
        if self.target_streams() {
            self.received = self.blue.position;
        }
    }

    pub(crate) fn target_streams(&self) -> bool {
        let (blue, green) = (&self.blue, &self.green);
        let slot = green.fed_by.as_ref();
        let is_fed = slot.is_some_and(|slot| blue.slots.contains_key(slot));
        let follows = green.up && green.in_recovery && blue.timeline == green.timeline;
        blue.up && follows && is_fed && !self.network.parted
    }

    /// A standby replays all that it has, also one that is told to become a primary.
    pub(crate) fn replay_what_is_received(&mut self) {
        let (blue, green, received) = (&self.blue, &mut self.green, self.received);
        if !green.up || !green.in_recovery {
            return;
        }
        let first = blue
            .wal
            .partition_point(|record| record.lsn <= green.position);
        let received = blue.wal[first..]
            .iter()
            .take_while(|record| record.lsn <= received);
        for record in received {
            green.replay(Arc::clone(record));
        }
    }

    /// The reverse stream, again and again.
    pub(crate) fn stream_back(&mut self) {
        if self.ended {
            return;
        }
        let pause = self.some(500..4_000);
        self.after(pause, Self::stream_back);
        if !self.blue.up || self.blue.in_recovery {
            return;
        }
        let subscriptions = self.blue.tables.subscriptions.clone();
        for (database, subscription) in subscriptions {
            if subscription.enabled {
                self.stream_one(&database, &subscription.slot);
            }
        }
    }

    fn stream_one(&mut self, database: &str, slot: &str) {
        let open = |server: &Server| {
            let settings = server.tables.databases.get(database);
            settings.is_some_and(|settings| settings.allow_connections)
        };
        let serves = Kind::Walsender {
            slot: Some(slot.to_owned()),
        };
        let applies = |backend: &crate::server::Backend| {
            backend.kind == Kind::Apply && backend.database == database
        };
        let worker = self.blue.backends.values().any(applies);
        let sender = self.green.backends.values().any(|it| it.kind == serves);
        let reached = self.green.up && !self.network.parted;
        if !worker || !sender || !reached {
            // Either end goes with the other, and the worker is started again after a while.
            self.blue.backends.retain(|_, backend| !applies(backend));
            self.green
                .backends
                .retain(|_, backend| backend.kind != serves);
            let can = reached
                && open(&self.blue)
                && !self.green.in_recovery
                && self.green.slots.contains_key(slot)
                && self.green.admits(CONTROL, database, true).is_ok();
            if can && self.chance(20) {
                self.enter(Side::Source, CONTROL, database, Kind::Apply);
                self.enter(Side::Target, CONTROL, database, serves);
            }
            return;
        }
        self.apply_next(database, slot);
    }

    fn apply_next(&mut self, database: &str, slot: &str) {
        let confirmed = self.green.slots.get(slot).map(|slot| slot.confirmed);
        let Some(confirmed) = confirmed else { return };
        let first = self
            .green
            .wal
            .partition_point(|record| record.lsn <= confirmed);
        let pending = self.green.wal[first..].iter();
        let of_database = pending.filter(|it| it.database == database && !it.has_origin);
        let next: Vec<_> = of_database.take(AT_A_TIME).cloned().collect();
        let mut reached = confirmed;
        for record in &next {
            let carried = record.changes.iter().filter(|change| change.is_carried());
            let carried: Vec<Change> = carried.cloned().collect();
            if !carried.is_empty() {
                let xid = self.blue.next_xid;
                self.blue.next_xid += 1;
                self.blue.end(xid, database, carried, true, false);
            }
            reached = record.lsn;
        }
        if next.is_empty() && self.chance(30) {
            reached = self.green.position;
        }
        if let Some(slot) = self.green.slots.get_mut(slot) {
            slot.confirmed = slot.confirmed.max(reached);
        }
    }
}
