//! Applications behind their sidecars: each numbers its writes and remembers what was acknowledged.

use pointsman_cutover::machine::Side;

use crate::{
    fleet::Way,
    ledger::{By, Row},
    server::{APP, Backend, Kind, MOVING, Open},
    tables::Change,
    world::World,
};

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: Vec<Client>,
    next_row: u64,
}

/// One client.
#[derive(Clone, Debug)]
struct Client {
    sidecar: usize,
    database: &'static str,
    /// It keeps its session.
    stays: bool,
    /// It reads on the standby, and tries to write there.
    reads: bool,
    session: Option<(Side, u64)>,
    parked_since: Option<u64>,
}

const CLIENTS: usize = 6;
/// Longer than any hold, with what a look at it takes.
const LONGEST_PARKED: u64 = 11_000_000;

impl World {
    /// From now on applications write.
    pub(crate) fn start_clients(&mut self) {
        for number in 0..=CLIENTS {
            let client = Client {
                sidecar: number % 3,
                database: MOVING[number % 2],
                stays: number % 4 < 2,
                reads: number == CLIENTS,
                session: None,
                parked_since: None,
            };
            self.clients.all.push(client);
            let after = self.some(0..20_000);
            self.after(after, move |world| world.client_acts(number));
        }
    }

    fn client_acts(&mut self, number: usize) {
        if self.ended {
            return;
        }
        let pause = self.some(4_000..24_000);
        self.after(pause, move |world| world.client_acts(number));
        let client = self.clients.all[number].clone();
        match client.session {
            Some((side, pid)) if self.server(side).backends.contains_key(&pid) => {
                self.begin_write(number, side, pid);
                if !client.stays && self.chance(30) {
                    self.server_mut(side).end_backend(pid);
                    self.clients.all[number].session = None;
                }
            }
            Some(_) | None => {
                self.clients.all[number].session = None;
                self.connect(number);
            }
        }
    }

    fn connect(&mut self, number: usize) {
        let Client {
            sidecar,
            database,
            reads,
            parked_since,
            ..
        } = self.clients.all[number].clone();
        let now = self.now();
        let way = self.fleet.way(sidecar, database, reads, self.wall());
        if way != Way::Parked {
            self.clients.all[number].parked_since = None;
        }
        match way {
            Way::Parked => {
                let since = parked_since.unwrap_or(now);
                self.clients.all[number].parked_since = Some(since);
                self.ledger.parked += u64::from(parked_since.is_none());
                if now - since > LONGEST_PARKED {
                    let what = format!("client {number} is parked for {} ms", (now - since) / 1000);
                    self.ledger.violated(crate::ledger::HOLDS_END, what);
                }
            }
            Way::Refused => self.ledger.refused += 1,
            Way::To(side) => {
                let after = self.some(100..1_000);
                self.after(after, move |world| world.log_in(number, side));
            }
        }
    }

    fn log_in(&mut self, number: usize, side: Side) {
        let database = self.clients.all[number].database;
        let server = self.server(side);
        if !server.up || server.admits(APP, database, false).is_err() {
            self.ledger.refused += 1;
            return;
        }
        let pid = self.enter(side, APP, database, Kind::Client);
        self.clients.all[number].session = Some((side, pid));
    }

    /// A backend that has passed the door. It is in no view yet.
    pub(crate) fn enter(
        &mut self,
        side: Side,
        role: &'static str,
        database: &str,
        kind: Kind,
    ) -> u64 {
        let pid = self.new_pid();
        let shown_from = self.now() + self.some(50..2_000);
        let wall = self.wall();
        let server = self.server_mut(side);
        let started = server.clock(wall);
        let database = database.to_owned();
        let backend = Backend {
            database,
            role,
            kind,
            started,
            shown_from,
        };
        server.backends.insert(pid, backend);
        pid
    }

    /// Sends a write; now and then a transaction takes its time.
    fn begin_write(&mut self, number: usize, side: Side, pid: u64) {
        let way = self.some(80..500);
        let takes = if self.chance(10) {
            self.some(500..40_000)
        } else {
            0
        };
        let database = self.clients.all[number].database;
        self.after(way, move |world| {
            let now = world.now();
            let backend = world.server(side).backends.get(&pid);
            if backend.is_none_or(|backend| backend.shown_from > now) {
                return;
            }
            let Some((xid, row, number)) = world.write(side, pid, database) else {
                return;
            };
            if takes == 0 {
                world.end_write(side, (xid, row, number), database, By::Application);
            } else {
                world.after(takes, move |world| {
                    world.end_write(side, (xid, row, number), database, By::Application);
                });
            }
        });
    }

    /// An INSERT whose transaction has not ended: its id, the row, and its number.
    pub(crate) fn write(
        &mut self,
        side: Side,
        pid: u64,
        database: &'static str,
    ) -> Option<(u64, u64, i64)> {
        let server = self.server(side);
        if !server.up || server.in_recovery {
            return None;
        }
        self.clients.next_row += 1;
        let row = self.clients.next_row;
        let server = self.server_mut(side);
        let number = server
            .tables
            .sequences
            .get(database)
            .copied()
            .unwrap_or_default()
            + 1;
        let xid = server.next_xid;
        server.next_xid += 1;
        // A sequence is written at once, and stays when its transaction is aborted.
        server.tables.sequences.insert(database.to_owned(), number);
        let database = database.to_owned();
        let changes = vec![
            Change::Sequence {
                database: database.clone(),
                value: number,
            },
            Change::Row {
                database: database.clone(),
                row,
            },
        ];
        server.open.insert(
            xid,
            Open {
                pid,
                database,
                changes,
            },
        );
        Some((xid, row, number))
    }

    /// The COMMIT, unless the session was ended before.
    pub(crate) fn end_write(
        &mut self,
        side: Side,
        (xid, row, number): (u64, u64, i64),
        database: &'static str,
        by: By,
    ) {
        let server = self.server_mut(side);
        let Some(Open {
            pid,
            database: written,
            mut changes,
        }) = server.open.remove(&xid)
        else {
            return;
        };
        let newest = server
            .tables
            .sequences
            .get(&written)
            .copied()
            .unwrap_or_default();
        if let Some(Change::Sequence { value, .. }) = changes.first_mut() {
            *value = newest.max(*value);
        }
        let lsn = server.end(xid, &written, changes, false, false);
        let at = self.now();
        let index = self.committed(Row {
            id: row,
            database,
            side,
            lsn,
            number,
            at,
            acknowledged: false,
            by,
        });
        let back = self.some(80..500);
        self.after(back, move |world| world.answer(side, pid, index));
    }

    /// The client hears of its COMMIT, once those have it that the server waits for.
    fn answer(&mut self, side: Side, pid: u64, index: usize) {
        let is_there = self.server(side).backends.contains_key(&pid);
        if !self.server(side).up {
            return;
        }
        if !self.commits_wait(side) {
            if is_there || self.chance(50) {
                self.acknowledged(index);
            }
        } else if is_there {
            let after = self.some(1_000..4_000);
            self.after(after, move |world| world.answer(side, pid, index));
        }
    }
}
