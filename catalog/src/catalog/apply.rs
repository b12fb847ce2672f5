//! Applies the operator's file to the store. It never moves a client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    APPLIED, Catalog, CatalogError, DATABASES, ROUTES, SERVERS,
    differences::{FieldChange, Fields},
    key, retried, write,
};
use crate::{
    Database, DatabaseName, Declaration, Epoch, Route, Routes, Server, ServerName,
    store::{
        Key, Precondition, Revision, StoreError, Write,
        record::{Format, Record},
    },
};

/// The effect of applying a declaration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    pub added: Vec<String>,
    pub changed: Vec<Changed>,
    /// What differs from the file and was left unchanged: what the file does not name, routes, and the
    /// endpoints of servers in a route. Routes change by a flip or a migration only.
    pub left: Vec<String>,
    /// The commit that holds it; `None` if nothing was changed.
    pub revision: Option<Revision>,
}

/// A server or database that was there before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changed {
    /// Such as `server blue`.
    pub what: String,
    pub fields: Vec<FieldChange>,
}

/// Whether a declaration may end open sessions: a sidecar that listens on another port closes the former
/// one with every session on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenSessions {
    Keep,
    Cut,
}

impl Catalog {
    /// Adds or updates the declared servers and databases, in one commit. A new database gets routes
    /// at epoch 1. The routes of an existing database never change, nor do the endpoints of the servers
    /// in them, so its clients stay where they are.
    ///
    /// Applying a declaration twice changes nothing the second time.
    ///
    /// # Errors
    /// [`CatalogError::CutsSessions`] if a port of a database changes and `sessions` are to be kept.
    /// [`CatalogError::UnknownServer`] if a database names a server that neither the declaration nor
    /// the catalogue has. [`CatalogError::Clash`] if the declaration and the rest of the catalogue would
    /// share a port or an endpoint. Then nothing is changed.
    pub async fn apply(
        &self,
        declaration: &Declaration,
        sessions: OpenSessions,
    ) -> Result<Applied, CatalogError> {
        retried(|| self.try_apply(declaration, sessions)).await
    }

    async fn try_apply(
        &self,
        declaration: &Declaration,
        sessions: OpenSessions,
    ) -> Result<Applied, CatalogError> {
        let at = Key::new(APPLIED);
        let last = self.store.get(&at).await?;
        let known = Known {
            servers: self.values(SERVERS).await?,
            databases: self.values(DATABASES).await?,
            routes: self.routes().await?,
        };
        let mut commit = Commit::default();
        for server in &declaration.servers {
            commit.server(server, &known)?;
        }
        for database in &declaration.databases {
            for name in std::iter::once(&database.writer).chain(&database.readers) {
                if !known.servers.contains_key(name)
                    && !declaration
                        .servers
                        .iter()
                        .any(|server| server.name == *name)
                {
                    return Err(self.unknown_server(name).await?);
                }
            }
            commit.database(database, &known)?;
        }
        commit.leave(&known, declaration);
        let clashes = commit.clashes(&known);
        if !clashes.is_empty() {
            return Err(CatalogError::Clash(clashes));
        }
        let cuts = commit.cuts();
        if sessions == OpenSessions::Keep && !cuts.is_empty() {
            return Err(CatalogError::CutsSessions(cuts));
        }
        if !commit.writes.is_empty() {
            let when = last.map_or(Precondition::Absent, |last| Precondition::At(last.revision));
            commit.writes.push(write(at, &AppliedMark {}, when)?);
            commit.applied.revision = Some(self.store.commit(commit.writes).await?);
        }
        Ok(commit.applied)
    }
}

/// Marks that a declaration was applied. Only the revision of its key is used.
#[derive(Deserialize, Serialize)]
struct AppliedMark {}

impl Record for AppliedMark {
    const FORMAT: Format = Format(1);
}

/// The former catalogue.
struct Known {
    servers: BTreeMap<ServerName, (Server, Revision)>,
    databases: BTreeMap<DatabaseName, (Database, Revision)>,
    routes: BTreeMap<DatabaseName, Routes>,
}

/// The writes of the commit, and the report to the operator.
#[derive(Default)]
struct Commit {
    applied: Applied,
    writes: Vec<Write>,
    servers: Vec<Server>,
    databases: Vec<Database>,
}

impl Commit {
    fn server(&mut self, declared: &Server, known: &Known) -> Result<(), StoreError> {
        let mut server = declared.clone();
        let before = known.servers.get(&declared.name);
        if let Some((before, _)) = before
            && before.endpoint != declared.endpoint
        {
            let routed = known.routed_to(&declared.name);
            if !routed.is_empty() {
                self.applied.left.push(format!(
                    "endpoint {} of server {}, where clients of {} are",
                    before.endpoint,
                    before.name,
                    routed.join(", ")
                ));
                server.endpoint = before.endpoint.clone();
            }
        }
        let label = format!("server {}", server.name);
        self.put(label, key(SERVERS, &server.name), &server, before)?;
        self.servers.push(server);
        Ok(())
    }

    fn database(&mut self, declared: &Database, known: &Known) -> Result<(), StoreError> {
        let mut database = declared.clone();
        let before = known.databases.get(&declared.name);
        match before {
            // These fields record the first declaration.
            Some((before, _)) => {
                database.writer = before.writer.clone();
                database.readers.clone_from(&before.readers);
            }
            None => {
                let routes = Routes {
                    epoch: Epoch(1),
                    writer: Route::serve(vec![declared.writer.clone()]),
                    reader: Route::serve(declared.readers.clone()),
                };
                let at = key(ROUTES, &declared.name);
                self.writes.push(write(at, &routes, Precondition::Absent)?);
            }
        }
        if let Some(routes) = known.routes.get(&declared.name) {
            self.differing(
                "writer",
                &routes.writer,
                std::slice::from_ref(&declared.writer),
                declared,
            );
            self.differing("reader", &routes.reader, &declared.readers, declared);
        }
        let label = format!("database {}", database.name);
        self.put(label, key(DATABASES, &database.name), &database, before)?;
        self.databases.push(database);
        Ok(())
    }

    /// Reports a route that differs from the file.
    fn differing(&mut self, role: &str, route: &Route, declared: &[ServerName], of: &Database) {
        if route.origin() != declared || matches!(route, Route::Refuse) {
            let label = format!("{role} route of database {} ({route})", of.name);
            self.applied.left.push(label);
        }
    }

    /// The ports and endpoints that would occur twice in the catalogue. Duplicates within the file were
    /// found when it was read.
    fn clashes(&self, known: &Known) -> Vec<String> {
        let mut endpoints = BTreeMap::new();
        let mut ports = BTreeMap::new();
        let mut clashes = Vec::new();
        let kept = known.servers.values().map(|(server, _)| server);
        let kept = kept.filter(|kept| self.servers.iter().all(|new| new.name != kept.name));
        for server in kept.chain(&self.servers) {
            if let Some(other) = endpoints.insert(&server.endpoint, &server.name) {
                clashes.push(format!(
                    "endpoint {} is that of server {other} and of server {}",
                    server.endpoint, server.name
                ));
            }
        }
        let kept = known.databases.values().map(|(database, _)| database);
        let kept = kept.filter(|kept| self.databases.iter().all(|new| new.name != kept.name));
        for database in kept.chain(&self.databases) {
            for port in [database.listen.writer, database.listen.reader] {
                if let Some(other) = ports.insert(port, &database.name) {
                    clashes.push(format!(
                        "port {port} is that of database {other} and of database {}",
                        database.name
                    ));
                }
            }
        }
        clashes
    }

    /// The ports that sidecars would leave, with every session on them.
    fn cuts(&self) -> Vec<String> {
        let mut cuts = Vec::new();
        for Changed { what, fields } in &self.applied.changed {
            let ports = fields
                .iter()
                .filter(|change| change.field.starts_with(LISTEN));
            cuts.extend(ports.filter_map(|change| {
                let (before, after) = change.values.as_ref()?;
                Some(format!("{what}: {} {before} → {after}", change.field))
            }));
        }
        cuts
    }

    fn put<T: Fields + PartialEq + Record>(
        &mut self,
        label: String,
        at: Key,
        value: &T,
        before: Option<&(T, Revision)>,
    ) -> Result<(), StoreError> {
        match before {
            None => {
                self.applied.added.push(label);
                self.writes.push(write(at, value, Precondition::Absent)?);
            }
            Some((before, _)) if before == value => {}
            Some((before, revision)) => {
                self.applied.changed.push(Changed {
                    what: label,
                    fields: before.differences(value),
                });
                let when = Precondition::At(*revision);
                self.writes.push(write(at, value, when)?);
            }
        }
        Ok(())
    }

    /// Reports what the file does not name. It is not removed.
    fn leave(&mut self, known: &Known, declaration: &Declaration) {
        let declared = |name: &ServerName| declaration.servers.iter().any(|s| s.name == *name);
        let servers = known.servers.keys().filter(|name| !declared(name));
        let left = &mut self.applied.left;
        left.extend(servers.map(|name| format!("server {name}")));
        let declared = |name: &DatabaseName| declaration.databases.iter().any(|d| d.name == *name);
        let databases = known.databases.keys().filter(|name| !declared(name));
        left.extend(databases.map(|name| format!("database {name}")));
    }
}

impl Known {
    /// The databases with a route that serves `server`, or that is a hold from it.
    fn routed_to(&self, server: &ServerName) -> Vec<String> {
        let to = |route: &Route| route.origin().contains(server);
        self.routes
            .iter()
            .filter(|(_, routes)| to(&routes.writer) || to(&routes.reader))
            .map(|(name, _)| name.to_string())
            .collect()
    }
}

/// How the fields begin that say where sidecars listen.
const LISTEN: &str = "listen.";
