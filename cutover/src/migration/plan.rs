use pointsman_catalog::DatabaseName;
use serde::{Deserialize, Serialize};

/// A database that the migration moves and the catalogue serves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PlannedDatabase {
    pub name: DatabaseName,
    pub datname: String,
}

/// What becomes of a database on the server that the catalogue does not list.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnlistedDatabasePolicy {
    /// It moves like the others, with a reverse stream of its own.
    Moves,
    /// It is closed on both servers until the migration is complete.
    StaysClosed,
}
