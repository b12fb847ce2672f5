//! What the clients saw, kept outside the databases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock::{Clock, Moment};

/// Everything that the clients of one run saw.
#[derive(Debug, Clone)]
pub struct Record {
    /// The clock that stamped the events.
    pub clock: Clock,
    /// One entry per client, in the order of their numbers.
    pub clients: Vec<ClientRecord>,
}

/// What one client saw, in the order in which it happened.
#[derive(Debug, Clone)]
pub struct ClientRecord {
    /// Who it is.
    pub identity: Identity,
    /// Its events, oldest first.
    pub events: Vec<Event>,
}

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number, unique in a workload; writers put it into each row.
    pub client: i32,
    /// Whether it writes or reads.
    pub role: Role,
    /// How it treats its session.
    pub habit: Habit,
    /// The PostgreSQL database that it works in.
    pub datname: String,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Inserts numbered rows over the writer's route.
    Writer,
    /// Reads over the readers' route.
    Reader,
}

/// How a client treats its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Keeps one session as long as it lives.
    KeepsSession,
    /// Connects anew for each statement.
    Reconnects,
}

/// Something that happened to a client.
#[derive(Debug, Clone)]
pub struct Event {
    /// When the client knew.
    pub at: Moment,
    /// What it was.
    pub kind: EventKind,
}

/// The kinds of events.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// A session was opened; `began` is when the client started to connect.
    Connected {
        /// When the client started to connect.
        began: Moment,
    },
    /// A write is known to be committed.
    Acked {
        /// The client's number of the write.
        number: i64,
        /// The port of the server that answered (`inet_server_port()`).
        server: u16,
        /// When the client first attempted this write.
        began: Moment,
        /// How the client knows.
        proof: Proof,
    },
    /// A read was answered.
    Read {
        /// The port of the server that answered.
        server: u16,
        /// When the client first attempted this read.
        began: Moment,
    },
    /// Something failed.
    Failed(Failure),
}

/// How a client knows that a write is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The server answered the INSERT.
    Reply,
    /// The answer was cut off, and a later look-up found the row.
    Lookup,
}

/// An error that a client saw.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What it means for the client.
    pub class: FailureClass,
    /// PostgreSQL's SQLSTATE, if the server said one.
    pub sqlstate: Option<String>,
    /// The error's message.
    pub message: String,
    /// The write that it concerns, for writers.
    pub number: Option<i64>,
}

/// What an error means for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// No session could be opened.
    Connect,
    /// A session was lost, but no write was under way on it.
    SessionLost,
    /// The server refused the statement: nothing was written.
    Statement,
    /// The session was lost after an INSERT was sent: it may or may not be committed.
    InDoubt,
}

/// The growing record of one client, shared between the client and the workload.
#[derive(Debug)]
pub(super) struct Log {
    identity: Identity,
    events: Mutex<Vec<Event>>,
}

impl Record {
    /// The records of the clients that write.
    pub fn writers(&self) -> impl Iterator<Item = &ClientRecord> {
        self.of_role(Role::Writer)
    }

    /// The records of the clients that read.
    pub fn readers(&self) -> impl Iterator<Item = &ClientRecord> {
        self.of_role(Role::Reader)
    }

    /// The databases that the clients worked in, sorted.
    #[must_use]
    pub fn datnames(&self) -> BTreeSet<&str> {
        let names = self.clients.iter().map(|c| c.identity.datname.as_str());
        names.collect()
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn acked_writes(&self) -> u64 {
        self.count(|kind| matches!(kind, EventKind::Acked { .. }))
    }

    /// How many writes were in doubt for some time, each counted once.
    #[must_use]
    pub fn in_doubt_writes(&self) -> u64 {
        let numbers = self.writers().map(|client| client.in_doubt().len() as u64);
        numbers.sum()
    }

    /// Acknowledged writes per second from `from` to `to`; 0 if there is no time between them.
    #[must_use]
    pub fn acked_per_s(&self, from: Moment, to: Moment) -> f64 {
        let events = self.clients.iter().flat_map(|client| &client.events);
        let acked = events
            .filter(|event| event.at >= from && event.at < to)
            .filter(|event| matches!(event.kind, EventKind::Acked { .. }))
            .count();
        let (acked, seconds) = (u32::try_from(acked), to.ms_since(from) / 1000.0);
        match acked {
            Ok(acked) if seconds > 0.0 => f64::from(acked) / seconds,
            Ok(_) | Err(_) => 0.0,
        }
    }

    fn of_role(&self, role: Role) -> impl Iterator<Item = &ClientRecord> {
        let clients = self.clients.iter();
        clients.filter(move |client| client.identity.role == role)
    }

    fn count(&self, matches: impl Fn(&EventKind) -> bool) -> u64 {
        let events = self.clients.iter().flat_map(|client| &client.events);
        events.filter(|event| matches(&event.kind)).count() as u64
    }
}

impl ClientRecord {
    /// The acknowledged writes: number → how it is known.
    #[must_use]
    pub fn acked(&self) -> BTreeMap<i64, Proof> {
        let mut acked = BTreeMap::new();
        for event in &self.events {
            if let EventKind::Acked { number, proof, .. } = event.kind {
                acked.insert(number, proof);
            }
        }
        acked
    }

    /// The numbers of the writes whose outcome was unknown for some time.
    #[must_use]
    pub fn in_doubt(&self) -> BTreeSet<i64> {
        let failures = self.failures();
        failures
            .filter(|(_, failure)| failure.class == FailureClass::InDoubt)
            .filter_map(|(_, failure)| failure.number)
            .collect()
    }

    /// The errors, with when they happened.
    pub fn failures(&self) -> impl Iterator<Item = (Moment, &Failure)> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Failed(failure) => Some((event.at, failure)),
            EventKind::Connected { .. } | EventKind::Acked { .. } | EventKind::Read { .. } => None,
        })
    }
}

impl Log {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            events: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn push(&self, at: Moment, kind: EventKind) {
        self.lock().push(Event { at, kind });
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether this is no writer, or one that got an answer from `port` at `since` or later.
    pub(super) fn wrote_to(&self, port: u16, since: Moment) -> bool {
        self.identity.role != Role::Writer || self.recent(since, |kind| {
            matches!(kind, EventKind::Acked { server, proof: Proof::Reply, .. } if *server == port)
        })
    }

    /// Whether this is no reader, or one that got an answer to a read that it began at `since` or later.
    pub(super) fn read_since(&self, since: Moment) -> bool {
        self.identity.role != Role::Reader
            || self.recent(
                since,
                |kind| matches!(kind, EventKind::Read { began, .. } if *began >= since),
            )
    }

    fn recent(&self, since: Moment, wanted: impl Fn(&EventKind) -> bool) -> bool {
        let events = self.lock();
        let recent = events.iter().rev().take_while(|event| event.at >= since);
        recent.into_iter().any(|event| wanted(&event.kind))
    }

    pub(super) fn copy(&self) -> ClientRecord {
        ClientRecord {
            identity: self.identity.clone(),
            events: self.lock().clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
