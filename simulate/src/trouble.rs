//! What goes wrong, and when.

use pointsman_cutover::machine::Side;

use crate::{
    ledger::By,
    network::{MessageFault, name},
    server::{APP, CONTROL, DBA, Kind, MOVING, REPLICATOR},
    tables::Change,
    world::{Errand, World},
};

/// One thing that goes wrong. Times are in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Message(MessageFault),
    /// No engine reaches the server.
    Cut {
        side: Side,
        lasts: u64,
    },
    /// It loses its power.
    Crash {
        side: Side,
        lasts: u64,
    },
    /// The control role's password is wrong there.
    RefuseControl {
        side: Side,
        lasts: u64,
    },
    /// The engine's process dies.
    Die {
        begins_again: u64,
    },
    /// The engine's process is stopped, another one takes over, and the first goes on.
    Supersede {
        taken_over: u64,
        goes_on: u64,
    },
    DiskFull {
        lasts: u64,
    },
    /// Somebody opens a server and writes there.
    Lift {
        side: Side,
        shuts: bool,
    },
    /// A session with a role that a fence may not stop tries to write.
    Intrude {
        side: Side,
        who: Intruder,
        lasts: u64,
    },
    CutSidecar {
        number: usize,
        lasts: u64,
    },
    RefuseAtSidecar {
        number: usize,
    },
    /// The servers do not reach each other.
    Part {
        lasts: u64,
    },
    ReplayStands {
        lasts: u64,
    },
    LoseSlot,
    PromoteByHand,
    /// The next promotion takes its time.
    PromotionTakes {
        lasts: u64,
    },
    /// Somebody promotes another standby of the source.
    PromoteBystander,
    /// An operator takes an error of the target's for its end.
    TakeForDown,
    Ring,
    Abort,
}

/// Who tries to write where nobody should.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Intruder {
    Superuser,
    Replicator,
    ControlRole,
}

impl Trouble {
    /// Any of them.
    fn any(world: &mut World) -> Self {
        let side = match world.chance(50) {
            true => Side::Source,
            false => Side::Target,
        };
        let lasts = match world.some(0..4) {
            0 => world.some(1..50),
            1 => world.some(50..500),
            2 => world.some(500..3_000),
            _ => world.some(3_000..9_000),
        };
        let soon = world.some(1..800);
        let number = world.rng.usize(0..3);
        match world.some(0..30) {
            0 => Self::Message(MessageFault::LoseRequest),
            1 | 2 => Self::Message(MessageFault::LoseAnswer),
            3 | 4 => Self::Message(MessageFault::Late(lasts * 1000)),
            5 => Self::Message(MessageFault::Refuse),
            6 | 7 => Self::Cut { side, lasts },
            8 | 9 => Self::Crash { side, lasts },
            10 => Self::RefuseControl { side, lasts },
            11..=13 => Self::Die { begins_again: soon },
            14 | 15 => Self::Supersede {
                taken_over: soon,
                goes_on: lasts,
            },
            16 => Self::DiskFull { lasts },
            17 | 18 => Self::Lift {
                side,
                shuts: soon < 400,
            },
            19 => Self::Intrude {
                side,
                who: Intruder::Superuser,
                lasts,
            },
            20 => Self::Intrude {
                side,
                who: Intruder::Replicator,
                lasts,
            },
            21 => Self::Intrude {
                side,
                who: Intruder::ControlRole,
                lasts,
            },
            22 => Self::CutSidecar { number, lasts },
            23 => match soon % 5 {
                0 => Self::LoseSlot,
                1 => Self::PromoteByHand,
                2 => Self::Part { lasts },
                3 => Self::ReplayStands { lasts },
                _ => Self::RefuseAtSidecar { number },
            },
            24 => Self::Ring,
            26..=29 => Self::Lift {
                side,
                shuts: soon < 200,
            },
            _ => Self::Abort,
        }
    }

    /// How long it goes on, in milliseconds.
    fn lasts(self) -> u64 {
        match self {
            Self::Message(MessageFault::Late(late)) => late / 1000,
            // A statement that is not answered is given up after a while.
            Self::Message(_) => 5_000,
            Self::Cut { lasts, .. } | Self::Part { lasts } => lasts + 5_000,
            Self::Crash { lasts, .. }
            | Self::RefuseControl { lasts, .. }
            | Self::DiskFull { lasts }
            | Self::ReplayStands { lasts }
            | Self::PromotionTakes { lasts }
            | Self::CutSidecar { lasts, .. } => lasts,
            Self::Die { begins_again } => begins_again,
            Self::Supersede {
                taken_over,
                goes_on,
            } => taken_over.max(goes_on),
            Self::Lift { .. }
            | Self::Intrude { .. }
            | Self::RefuseAtSidecar { .. }
            | Self::LoseSlot
            | Self::PromoteByHand
            | Self::PromoteBystander
            | Self::TakeForDown
            | Self::Ring
            | Self::Abort => 0,
        }
    }

    /// It happens now. Returns what becomes of the message that was its moment.
    pub(crate) fn happen(self, world: &mut World) -> Option<MessageFault> {
        world.disturbed_at = world.disturbed_at.max(world.now() + self.lasts() * 1000);
        match self {
            Self::Message(fault) => return Some(fault),
            Self::Cut { side, lasts } => {
                world.network.cut.insert(name(side));
                later(world, lasts, move |world| {
                    world.network.cut.remove(name(side));
                });
            }
            Self::Crash { side, lasts } => {
                world.server_mut(side).crash();
                later(world, lasts, move |world| world.server_mut(side).up = true);
            }
            Self::RefuseControl { side, lasts } => {
                let server = world.server_mut(side);
                server.refuses_control = true;
                // Its sessions end with the change.
                let is_control = |kind: &Kind| matches!(kind, Kind::Control { .. });
                server
                    .backends
                    .retain(|_, backend| !is_control(&backend.kind));
                later(world, lasts, move |world| {
                    world.server_mut(side).refuses_control = false;
                });
            }
            Self::Die { begins_again } => {
                world.errands.push(Errand::Kill);
                later(world, begins_again, |world| {
                    world.errands.push(Errand::Start);
                });
            }
            Self::Supersede {
                taken_over,
                goes_on,
            } => {
                world.errands.push(Errand::Supersede);
                later(world, taken_over, |world| world.errands.push(Errand::Start));
                later(world, goes_on, |world| world.errands.push(Errand::Continue));
            }
            Self::DiskFull { lasts } => world.disk.full_until = world.now() + lasts * 1000,
            Self::Lift { side, shuts } => world.lift(side, shuts),
            Self::Intrude { side, who, lasts } => {
                let until = world.now() + lasts * 1000;
                world.intrude(side, who, until);
            }
            Self::CutSidecar { number, lasts } => {
                world.cut_off(number, true);
                later(world, lasts, move |world| world.cut_off(number, false));
            }
            Self::RefuseAtSidecar { number } => world.fleet.refuse_next(number),
            Self::Part { lasts } => {
                world.network.parted = true;
                later(world, lasts, |world| world.network.parted = false);
            }
            Self::ReplayStands { lasts } => world.replay_stands_until = world.now() + lasts * 1000,
            Self::LoseSlot => {
                let slot = world.green.slots.keys().next().cloned();
                if let Some(slot) = slot {
                    world.green.slots.remove(&slot);
                    world.slot_lost_at = Some(world.now());
                }
            }
            Self::PromoteByHand => world.promote_by_hand(),
            Self::PromotionTakes { lasts } => world.promotion_takes = Some(lasts * 1000),
            Self::PromoteBystander => world.promote_bystander(),
            Self::TakeForDown => world.errands.push(Errand::TakeForDown),
            Self::Ring => world.errands.push(Errand::Ring),
            Self::Abort => world.errands.push(Errand::Abort),
        }
        None
    }
}

fn later(world: &mut World, millis: u64, act: impl FnOnce(&mut World) + Send + 'static) {
    world.after(millis * 1000, act);
}

impl World {
    /// Decides what goes wrong in this run.
    pub(crate) fn plan_troubles(&mut self) {
        if self.chance(AIMED) {
            return self.plan_aims();
        }
        let count = match self.some(0..20) {
            0 | 1 => 0,
            2..=9 => 1,
            10..=15 => 2,
            16..=18 => 3,
            _ => 4,
        };
        for _ in 0..count {
            let at = match self.some(0..10) {
                0..=5 => self.some(1..130),
                6..=8 => self.some(100..320),
                _ => self.some(200..900),
            };
            let trouble = Trouble::any(self);
            self.troubles.entry(at).or_default().push(trouble);
        }
    }

    /// Everything that can come back does.
    pub(crate) fn heal(&mut self) {
        self.troubles.clear();
        self.aims.clear();
        self.promotion_takes = None;
        self.bystander.heal();
        self.network.cut.clear();
        self.network.parted = false;
        self.replay_stands_until = 0;
        self.disk.full_until = 0;
        self.intruders_until = self.now();
        for side in [Side::Source, Side::Target] {
            let is_gone = match side {
                Side::Source => self.blue_is_gone,
                Side::Target => self.green_is_gone,
            };
            let server = self.server_mut(side);
            server.up = !is_gone;
            server.refuses_control = false;
        }
        for number in 0..3 {
            self.cut_off(number, false);
        }
    }

    /// The owner of a database opens it, and a session writes there.
    fn lift(&mut self, side: Side, shuts: bool) {
        let server = self.server_mut(side);
        if !server.up || server.in_recovery {
            return;
        }
        let database = MOVING[0];
        let change = |allow, limit| Change::Settings {
            database: database.to_owned(),
            allow: Some(allow),
            limit: Some(limit),
        };
        let before = server.tables.databases.get(database).cloned();
        let Some(before) = before else { return };
        if before.allow_connections && before.connection_limit == -1 {
            return;
        }
        server.commit("postgres", vec![change(true, -1)]);
        server.rules.file_is_fenced = false;
        server.rules.fenced = false;
        let now = self.now();
        self.ledger.lifted.push((side, now));
        let pid = self.enter(side, APP, database, Kind::Client);
        let after = self.some(2_200..6_000);
        self.after(after, move |world| {
            world.write_as_stranger(side, pid, database);
            if shuts {
                let server = world.server_mut(side);
                let shut = (before.allow_connections, before.connection_limit);
                // Whom it serves meanwhile is not shut out.
                if server.up && !server.tables.fences().is_empty() {
                    server.commit("postgres", vec![change(shut.0, shut.1)]);
                }
            }
        });
    }

    pub(crate) fn write_as_stranger(&mut self, side: Side, pid: u64, database: &'static str) {
        if !self.server(side).backends.contains_key(&pid) {
            return;
        }
        if let Some(open) = self.write(side, pid, database) {
            self.end_write(side, open, database, By::Stranger);
        }
    }

    /// Tries to come in and to write, again and again.
    fn intrude(&mut self, side: Side, who: Intruder, until: u64) {
        if self.now() > until || self.now() > self.intruders_until || self.ended {
            return;
        }
        let (role, kind) = match who {
            Intruder::Superuser => (DBA, Kind::Client),
            Intruder::Replicator => (REPLICATOR, Kind::Walsender { slot: None }),
            Intruder::ControlRole => (CONTROL, Kind::Client),
        };
        let database = MOVING[1];
        let replicates = who == Intruder::Replicator;
        let server = self.server(side);
        if server.up && server.admits(role, database, replicates).is_ok() {
            let pid = self.enter(side, role, database, kind);
            for _ in 0..3 {
                let after = self.some(2_000..9_000);
                self.after(after, move |world| {
                    world.write_as_stranger(side, pid, database);
                });
            }
            let after = self.some(9_000..12_000);
            self.after(after, move |world| world.server_mut(side).end_backend(pid));
        }
        let pause = self.some(3_000..20_000);
        self.after(pause, move |world| world.intrude(side, who, until));
    }

    fn promote_by_hand(&mut self) {
        if self.green.up && self.green.in_recovery {
            self.promoted_by_hand = true;
            self.promote();
        }
    }

    /// The target is told to become a primary: it does when it has replayed what it has received.
    pub(crate) fn promote(&mut self) {
        self.green.promoting = true;
        let quick = self.some(2_000..40_000);
        let takes = self.promotion_takes.take().unwrap_or(quick);
        self.after(takes, |world| {
            if world.green.up && world.green.promoting && world.green.in_recovery {
                world.replay_what_is_received();
                world.green.become_primary();
                world.note(|_| "green is a primary".to_owned());
            }
        });
    }
}

/// So many seeds in a hundred aim at a moment.
const AIMED: u64 = 40;
