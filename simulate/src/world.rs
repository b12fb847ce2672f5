//! Everything around the engine, at one moment.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pointsman_catalog::{
    ServerName, UnixMillis,
    store::{Key, Revision},
};
use pointsman_cutover::{Lsn, machine::Side};

use crate::{
    aim::{Aim, Said},
    bystander::Bystander,
    clients::Clients,
    fleet::Fleet,
    ledger::Ledger,
    network::{MessageFault, Network},
    schedule::{Act, Place, Schedule},
    server::Server,
    task::Task,
    trouble::Trouble,
};

/// The world, which engines, servers and clients share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

/// What only the run itself can do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Errand {
    /// The engine's process dies.
    Kill,
    /// It stops for a while; another one takes over meanwhile.
    Supersede,
    /// A process that was stopped goes on.
    Continue,
    /// A new process begins.
    Start,
    /// The operator looks.
    Operate,
    /// An alarm fires.
    Ring,
    /// An operator aborts, or goes back.
    Abort,
    /// An operator takes an error of the target's for its end.
    TakeForDown,
    /// Nothing goes wrong any more.
    Heal,
    End,
}

/// The store's contents.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) revision: u64,
    pub(crate) values: BTreeMap<Key, (Revision, Vec<u8>)>,
    /// Every commit fails until then.
    pub(crate) full_until: u64,
}

/// Servers, clients, sidecars, and what is on its way between them.
pub(crate) struct World {
    pub(crate) schedule: Schedule,
    pub(crate) rng: fastrand::Rng,
    pub(crate) blue: Server,
    pub(crate) green: Server,
    pub(crate) network: Network,
    pub(crate) disk: Disk,
    pub(crate) fleet: Fleet,
    pub(crate) clients: Clients,
    pub(crate) ledger: Ledger,
    pub(crate) errands: Vec<Errand>,
    /// What happens at the engine's so-many-th message of a switch.
    pub(crate) troubles: BTreeMap<u64, Vec<Trouble>>,
    /// What happens at a message of a kind.
    pub(crate) aims: Vec<Aim>,
    /// What the engine is at.
    pub(crate) task: Task,
    /// `synchronous_standby_names` of both servers before the migration.
    pub(crate) former_synchronous: &'static str,
    /// Another standby of the source.
    pub(crate) bystander: Bystander,
    /// The engine's messages, once a switch was asked for.
    pub(crate) counting: bool,
    pub(crate) messages: u64,
    pub(crate) next_pid: u64,
    /// A task of an engine can go on.
    pub(crate) woken: bool,
    /// When the last of what went wrong ended.
    pub(crate) disturbed_at: u64,
    pub(crate) replay_stands_until: u64,
    /// Up to where the standby has received what its primary wrote.
    pub(crate) received: Lsn,
    /// How long the next promotion takes.
    pub(crate) promotion_takes: Option<u64>,
    pub(crate) intruders_until: u64,
    pub(crate) promoted_by_hand: bool,
    /// When somebody dropped a reverse slot.
    pub(crate) slot_lost_at: Option<u64>,
    /// Servers that an operator has taken down for good.
    pub(crate) blue_is_gone: bool,
    pub(crate) green_is_gone: bool,
    /// When the migration had ended.
    pub(crate) over_at: Option<u64>,
    pub(crate) ended: bool,
    trace: Option<Vec<String>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// A primary, its standby, and nobody else yet.
    pub(crate) fn new(seed: u64, traced: bool) -> anyhow::Result<Self> {
        let mut blue = Server::new(ServerName::new("blue")?, false);
        let slot = crate::server::Slot {
            confirmed: blue.position,
        };
        blue.slots
            .insert(crate::server::STANDBY_SLOT.to_owned(), slot);
        Ok(Self {
            schedule: Schedule::default(),
            rng: fastrand::Rng::with_seed(seed),
            blue,
            green: Server::new(ServerName::new("green")?, true),
            network: Network::default(),
            disk: Disk::default(),
            fleet: Fleet::default(),
            clients: Clients::default(),
            ledger: Ledger::default(),
            errands: Vec::new(),
            troubles: BTreeMap::new(),
            aims: Vec::new(),
            task: Task::default(),
            former_synchronous: "",
            bystander: Bystander::default(),
            counting: false,
            messages: 0,
            next_pid: 1000,
            woken: true,
            disturbed_at: 0,
            replay_stands_until: 0,
            received: Lsn::default(),
            promotion_takes: None,
            intruders_until: u64::MAX,
            promoted_by_hand: false,
            slot_lost_at: None,
            blue_is_gone: false,
            green_is_gone: false,
            over_at: None,
            ended: false,
            trace: traced.then(Vec::new),
        })
    }

    /// Microseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.schedule.now()
    }

    /// The wall clock of the engine's machine.
    pub(crate) fn wall(&self) -> UnixMillis {
        UnixMillis(BEGINNING + self.now() / 1000)
    }

    pub(crate) fn after(
        &mut self,
        micros: u64,
        act: impl FnOnce(&mut Self) + Send + 'static,
    ) -> Place {
        let act: Act = Box::new(act);
        self.schedule.put(micros, act)
    }

    /// A time in microseconds, at random.
    pub(crate) fn some(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.u64(range)
    }

    /// Whether something happens that has so many chances in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.rng.u64(0..100) < percent
    }

    pub(crate) fn server(&self, side: Side) -> &Server {
        match side {
            Side::Source => &self.blue,
            Side::Target => &self.green,
        }
    }

    pub(crate) fn server_mut(&mut self, side: Side) -> &mut Server {
        match side {
            Side::Source => &mut self.blue,
            Side::Target => &mut self.green,
        }
    }

    pub(crate) fn new_pid(&mut self) -> u64 {
        self.next_pid += 1;
        self.next_pid
    }

    /// Writes down what happens, where somebody wants to read it.
    pub(crate) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let millis = self.now() as f64 / 1000.0;
            let line = format!("{millis:>10.3} ms  {}", line(self));
            self.trace.get_or_insert_default().push(line);
        }
    }

    /// The trace so far.
    pub(crate) fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    /// The engine sends something. What was planned for this moment happens.
    pub(crate) fn engine_acts(&mut self, said: Option<Said>) -> Option<MessageFault> {
        if !self.counting {
            return None;
        }
        self.messages += 1;
        let number = self.messages;
        let mut planned = self.troubles.remove(&number).unwrap_or_default();
        if let Some(said) = said {
            planned.extend(self.aimed_at(said));
        }
        let mut fault = None;
        for trouble in planned {
            self.note(|_| format!("TROUBLE at message {number}: {trouble:?}"));
            fault = trouble.happen(self).or(fault);
        }
        fault
    }
}

/// 2026-01-01, in milliseconds.
const BEGINNING: u64 = 1_767_225_600_000;
