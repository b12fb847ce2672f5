use serde::{Deserialize, Serialize};

use crate::{DatabaseName, ServerName};

/// A logical database that applications ask for by name.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// The name that applications use.
    pub name: DatabaseName,
    /// The name in PostgreSQL (`pg_database.datname`).
    pub datname: String,
    /// The writer when the database was first applied. The current writer is in
    /// [`crate::Routes`]; applying a file never changes it.
    pub writer: ServerName,
    /// The readers when the database was first applied.
    pub readers: Vec<ServerName>,
    /// The sidecars' listening ports for it.
    pub listen: ListenPorts,
}

/// One listener per role, on each sidecar's own listen address.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ListenPorts {
    /// TCP port of the writer listener.
    pub writer: u16,
    /// TCP port of the reader listener.
    pub reader: u16,
}
