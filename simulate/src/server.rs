//! One PostgreSQL server: its WAL, its sessions, its slots, and who is let in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pointsman_catalog::{ServerName, UnixMillis};
use pointsman_cutover::{
    Lsn,
    ports::{DatabaseSettings, Look, Observation},
};

use crate::{
    synchronous::SynchronousNames,
    tables::{Change, Role, Tables},
};

/// The end of one transaction, with all that it wrote.
#[derive(Debug)]
pub(crate) struct Record {
    /// Where it ends.
    pub(crate) lsn: Lsn,
    pub(crate) xid: u64,
    pub(crate) database: String,
    pub(crate) changes: Vec<Change>,
    /// It came by the reverse stream.
    pub(crate) has_origin: bool,
    /// A message in it says that it is the engine's.
    pub(crate) is_marked: bool,
}

/// A process of the server's that somebody is connected to.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    pub(crate) database: String,
    pub(crate) role: &'static str,
    pub(crate) kind: Kind,
    pub(crate) started: UnixMillis,
    /// Before this it has passed the door and is in no view.
    pub(crate) shown_from: u64,
}

/// What a session is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Client,
    Control {
        migration: String,
        epoch: u64,
    },
    /// A logical walsender; it serves a slot, or runs plain SQL.
    Walsender {
        slot: Option<String>,
    },
    /// An apply worker of the reverse stream.
    Apply,
}

/// A logical or physical slot.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) confirmed: Lsn,
}

/// A transaction that has written and not ended.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) pid: u64,
    pub(crate) database: String,
    pub(crate) changes: Vec<Change>,
}

/// `pg_hba.conf`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) file_is_fenced: bool,
    pub(crate) fenced: bool,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    ByRules,
    NoSuchDatabase,
    Closed,
    Limit,
    NoLogin,
    /// The control role alone is told so.
    Password,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: ServerName,
    pub(crate) up: bool,
    pub(crate) in_recovery: bool,
    pub(crate) promoting: bool,
    pub(crate) timeline: u32,
    /// Where its recovery ended.
    pub(crate) fork: Option<Lsn>,
    pub(crate) tables: Tables,
    pub(crate) wal: Vec<Arc<Record>>,
    pub(crate) position: Lsn,
    pub(crate) next_xid: u64,
    pub(crate) open: BTreeMap<u64, Open>,
    pub(crate) backends: BTreeMap<u64, Backend>,
    pub(crate) slots: BTreeMap<String, Slot>,
    /// `primary_slot_name`.
    pub(crate) fed_by: Option<String>,
    pub(crate) rules: Rules,
    pub(crate) synchronous: SynchronousNames,
    /// How far its clock is ahead, in milliseconds.
    pub(crate) ahead: i64,
    /// It refuses the control role's password.
    pub(crate) refuses_control: bool,
}

pub(crate) const CONTROL: &str = "postgres";
pub(crate) const APP: &str = "app";
pub(crate) const DBA: &str = "dba";
pub(crate) const REPLICATOR: &str = "repl";
pub(crate) const MOVING: [&str; 2] = ["orders", "billing"];
pub(crate) const STANDBY_SLOT: &str = "standby";
pub(crate) const SYSTEM: &str = "7301";

impl Refused {
    /// PostgreSQL's code and words.
    pub(crate) fn words(self, database: &str) -> (&'static str, String) {
        match self {
            Self::ByRules => ("28000", "pg_hba.conf rejects connection".to_owned()),
            Self::NoSuchDatabase => ("3D000", format!("database \"{database}\" does not exist")),
            Self::Closed => (
                "55000",
                format!("database \"{database}\" is not currently accepting connections"),
            ),
            Self::Limit => (
                "53300",
                format!("too many connections for database \"{database}\""),
            ),
            Self::NoLogin => ("28000", "role is not permitted to log in".to_owned()),
            Self::Password => ("28P01", "password authentication failed".to_owned()),
        }
    }
}

impl Server {
    /// A primary with two databases of applications, or its standby.
    pub(crate) fn new(name: ServerName, in_recovery: bool) -> Self {
        let mut tables = Tables::default();
        for (oid, datname) in (5..).zip(["postgres", "template1", MOVING[0], MOVING[1]]) {
            let settings = DatabaseSettings {
                datname: datname.to_owned(),
                oid,
                allow_connections: true,
                connection_limit: -1,
                is_template: datname == "template1",
            };
            tables.databases.insert(datname.to_owned(), settings);
        }
        for datname in MOVING {
            tables.rows.insert(datname.to_owned(), BTreeSet::new());
            tables.sequences.insert(datname.to_owned(), 0);
        }
        for (role, superuser) in [
            (CONTROL, true),
            (APP, false),
            (DBA, true),
            (REPLICATOR, false),
        ] {
            let login = true;
            tables
                .roles
                .insert(role.to_owned(), Role { superuser, login });
        }
        Self {
            name,
            up: true,
            in_recovery,
            promoting: false,
            timeline: 1,
            fork: None,
            tables,
            wal: Vec::new(),
            position: Lsn(0x300_0000),
            next_xid: 731,
            open: BTreeMap::new(),
            backends: BTreeMap::new(),
            slots: BTreeMap::new(),
            fed_by: in_recovery.then(|| STANDBY_SLOT.to_owned()),
            rules: Rules::default(),
            synchronous: SynchronousNames::default(),
            ahead: 0,
            refuses_control: false,
        }
    }

    /// Its own clock.
    pub(crate) fn clock(&self, wall: UnixMillis) -> UnixMillis {
        UnixMillis(wall.0.saturating_add_signed(self.ahead))
    }

    /// Whether it lets a new session in.
    pub(crate) fn admits(
        &self,
        role: &str,
        database: &str,
        replicates: bool,
    ) -> Result<(), Refused> {
        if role == CONTROL && self.refuses_control {
            return Err(Refused::Password);
        }
        if self.rules.fenced && role != CONTROL {
            return Err(Refused::ByRules);
        }
        let settings = self
            .tables
            .databases
            .get(database)
            .ok_or(Refused::NoSuchDatabase)?;
        let known = self.tables.roles.get(role).filter(|role| role.login);
        let known = known.ok_or(Refused::NoLogin)?;
        if !settings.allow_connections {
            return Err(Refused::Closed);
        }
        if settings.connection_limit == 0 && !known.superuser && !replicates {
            return Err(Refused::Limit);
        }
        Ok(())
    }

    /// The end of a transaction. Nothing is acknowledged before it is on the disk.
    pub(crate) fn commit(&mut self, database: &str, changes: Vec<Change>) -> (u64, Lsn) {
        let xid = self.next_xid;
        self.next_xid += 1;
        (xid, self.end(xid, database, changes, false, false))
    }

    /// The same of a transaction that has its id, or that says whose it is.
    pub(crate) fn end(
        &mut self,
        xid: u64,
        database: &str,
        changes: Vec<Change>,
        has_origin: bool,
        is_marked: bool,
    ) -> Lsn {
        self.position = Lsn(self.position.0 + 48 + 16 * changes.len() as u64);
        for change in &changes {
            self.tables.apply(change);
        }
        self.wal.push(Arc::new(Record {
            lsn: self.position,
            xid,
            database: database.to_owned(),
            changes,
            has_origin,
            is_marked,
        }));
        self.position
    }

    /// A transaction of the engine's own, by a row in its table.
    pub(crate) fn commit_own(&mut self, mut changes: Vec<Change>) -> Result<(u64, Lsn), String> {
        if self.in_recovery {
            return Err("cannot execute INSERT in a read-only transaction (25006)".to_owned());
        }
        if self.tables.fences.is_none() {
            return Err("relation \"pointsman.transactions\" does not exist (42P01)".to_owned());
        }
        let xid = self.next_xid;
        self.next_xid += 1;
        changes.insert(0, Change::Own(xid));
        Ok((xid, self.end(xid, "postgres", changes, false, false)))
    }

    /// A look: an own transaction that sees whose have not ended.
    pub(crate) fn look(&mut self) -> Result<Look, String> {
        let open = self.open.keys().copied().collect();
        let (xid, lsn) = self.commit_own(Vec::new())?;
        let own = Vec::new();
        Ok(Look {
            lsn,
            xid,
            open,
            own,
        })
    }

    /// Replays one record of its primary's.
    pub(crate) fn replay(&mut self, record: Arc<Record>) {
        for change in &record.changes {
            self.tables.apply(change);
        }
        self.position = record.lsn;
        self.next_xid = self.next_xid.max(record.xid + 1);
        self.wal.push(record);
    }

    /// It leaves recovery.
    pub(crate) fn become_primary(&mut self) {
        self.promoting = false;
        self.in_recovery = false;
        self.timeline += 1;
        self.fork = Some(self.position);
        self.position = Lsn(self.position.0 + 32);
    }

    /// It loses its power: every session, and what had not ended.
    pub(crate) fn crash(&mut self) {
        self.up = false;
        self.promoting = false;
        self.backends.clear();
        self.open.clear();
        self.rules.fenced = self.rules.file_is_fenced;
    }

    /// Ends a session and what it had under way.
    pub(crate) fn end_backend(&mut self, pid: u64) {
        self.backends.remove(&pid);
        self.open.retain(|_, open| open.pid != pid);
    }

    /// `pg_last_wal_replay_lsn()`, which on a primary is where its recovery ended.
    pub(crate) fn replayed(&self) -> Option<Lsn> {
        if self.in_recovery {
            Some(self.position)
        } else {
            self.fork
        }
    }

    pub(crate) fn observe(&self, wall: UnixMillis) -> Observation {
        Observation {
            system_identifier: SYSTEM.to_owned(),
            timeline: self.timeline,
            in_recovery: self.in_recovery,
            position: self.position,
            replayed: self.replayed(),
            version: 150_018,
            clock: self.clock(wall),
            databases: self.tables.databases.values().cloned().collect(),
        }
    }

    /// The commits of others behind `since`, up to its end.
    pub(crate) fn others_since<'a>(
        &'a self,
        since: Lsn,
        counts: impl Fn(&Record) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Arc<Record>> {
        let first = self.wal.partition_point(|record| record.lsn <= since);
        self.wal[first..].iter().filter(move |record| {
            !record.has_origin
                && !self.tables.own.contains(&record.xid)
                && record.changes.iter().any(Change::is_written)
                && counts(record)
        })
    }

    /// Whether an application can write on it now, on a session that there is or a new one.
    pub(crate) fn accepts_writes(&self, database: &str) -> bool {
        if !self.up || self.in_recovery {
            return false;
        }
        self.admits(APP, database, false).is_ok()
            || self.backends.values().any(|backend| {
                backend.database == database && backend.kind == Kind::Client && backend.role == APP
            })
    }
}
