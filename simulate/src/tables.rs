//! What a server's WAL makes: the same on a primary and on the standby that has replayed it.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_catalog::ServerName;
use pointsman_cutover::ports::{DatabaseSettings, FenceRecord};

/// One change of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Row {
        database: String,
        row: u64,
    },
    Sequence {
        database: String,
        value: i64,
    },
    Probe {
        database: String,
        value: i64,
    },
    MakeProbe {
        database: String,
    },
    Publish {
        database: String,
    },
    /// What a set-up made in a database.
    TakeDown {
        database: String,
    },
    MakeFenceTable,
    DropFenceTable,
    Settings {
        database: String,
        allow: Option<bool>,
        limit: Option<i32>,
    },
    Fences(FencesChange),
    Own(u64),
    Login {
        role: String,
        allowed: bool,
    },
    Subscribe {
        database: String,
        slot: String,
    },
    Enable {
        database: String,
        enabled: bool,
    },
    Unsubscribe {
        database: String,
    },
}

/// A change of the fence's own table.
#[derive(Clone, Debug)]
pub(crate) enum FencesChange {
    Put(FenceRecord),
    Remove {
        migration: String,
    },
    KeepLogins {
        server: ServerName,
        roles: Vec<String>,
    },
}

/// A role, apart from its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    pub(crate) superuser: bool,
    pub(crate) login: bool,
}

/// The receiving end of a reverse stream in one database.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    pub(crate) slot: String,
    pub(crate) enabled: bool,
}

/// A row of the fence's own table.
#[derive(Clone, Debug)]
pub(crate) struct Fenced {
    pub(crate) record: FenceRecord,
    pub(crate) without_login: Vec<String>,
}

/// Everything that is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) databases: BTreeMap<String, DatabaseSettings>,
    pub(crate) rows: BTreeMap<String, BTreeSet<u64>>,
    pub(crate) sequences: BTreeMap<String, i64>,
    pub(crate) probes: BTreeMap<String, Option<i64>>,
    pub(crate) publications: BTreeSet<String>,
    /// `None` where its table is not there.
    pub(crate) fences: Option<BTreeMap<ServerName, Fenced>>,
    pub(crate) own: BTreeSet<u64>,
    pub(crate) roles: BTreeMap<String, Role>,
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
}

impl Change {
    /// Whether WAL shows it as a write to a relation that is not exempt.
    pub(crate) fn is_written(&self) -> bool {
        !matches!(self, Self::Probe { .. })
    }

    /// Whether logical replication carries it.
    pub(crate) fn is_carried(&self) -> bool {
        matches!(self, Self::Row { .. } | Self::Probe { .. })
    }
}

impl Tables {
    pub(crate) fn apply(&mut self, change: &Change) {
        match change.clone() {
            Change::Row { database, row } => {
                self.rows.entry(database).or_default().insert(row);
            }
            Change::Sequence { database, value } => {
                self.sequences.insert(database, value);
            }
            Change::Probe { database, value } => {
                self.probes.insert(database, Some(value));
            }
            Change::MakeProbe { database } => {
                self.probes.entry(database).or_default();
            }
            Change::Publish { database } => {
                self.publications.insert(database);
            }
            Change::TakeDown { database } => {
                self.probes.remove(&database);
                self.publications.remove(&database);
            }
            Change::MakeFenceTable => {
                self.fences.get_or_insert_default();
            }
            Change::DropFenceTable => {
                self.fences = None;
                self.own.clear();
            }
            Change::Settings {
                database,
                allow,
                limit,
            } => {
                if let Some(settings) = self.databases.get_mut(&database) {
                    settings.allow_connections = allow.unwrap_or(settings.allow_connections);
                    settings.connection_limit = limit.unwrap_or(settings.connection_limit);
                }
            }
            Change::Own(xid) => {
                self.own.insert(xid);
            }
            Change::Login { role, allowed } => {
                if let Some(role) = self.roles.get_mut(&role) {
                    role.login = allowed;
                }
            }
            Change::Subscribe { database, slot } => {
                let enabled = true;
                self.subscriptions
                    .insert(database, Subscription { slot, enabled });
            }
            Change::Enable { database, enabled } => {
                if let Some(subscription) = self.subscriptions.get_mut(&database) {
                    subscription.enabled = enabled;
                }
            }
            Change::Unsubscribe { database } => {
                self.subscriptions.remove(&database);
            }
            Change::Fences(change) => self.apply_to_fences(change),
        }
    }

    fn apply_to_fences(&mut self, change: FencesChange) {
        let Some(fences) = &mut self.fences else {
            return;
        };
        match change {
            FencesChange::Put(record) => {
                let known = fences.remove(&record.server);
                let without_login = known.map_or_else(Vec::new, |known| known.without_login);
                let server = record.server.clone();
                fences.insert(
                    server,
                    Fenced {
                        record,
                        without_login,
                    },
                );
            }
            FencesChange::Remove { migration } => {
                fences.retain(|_, fenced| fenced.record.migration != migration);
            }
            FencesChange::KeepLogins { server, roles } => {
                if let Some(fenced) = fences.get_mut(&server) {
                    fenced.without_login.extend(roles);
                }
            }
        }
    }

    /// The fence records, the newest first.
    pub(crate) fn fences(&self) -> Vec<&Fenced> {
        let mut all: Vec<_> = self
            .fences
            .iter()
            .flatten()
            .map(|(_, fenced)| fenced)
            .collect();
        all.sort_by_key(|fenced| std::cmp::Reverse(fenced.record.epoch));
        all
    }
}
