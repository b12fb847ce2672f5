use serde::{Deserialize, Serialize};

use crate::{Endpoint, ServerName};

/// One running PostgreSQL server ("cluster" in PostgreSQL's own word).
///
/// Its role, timeline and system identifier are observed on every session and
/// never declared.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The operator's name for it.
    pub name: ServerName,
    /// Where sidecars send applications.
    pub endpoint: Endpoint,
    /// libpq keyword/value string of the control role's session to database
    /// `postgres`; never logged. `passfile=PATH` names a file that holds the
    /// password.
    pub control: String,
    /// libpq keyword/value string, without `dbname`, with which the *other* server
    /// of a migration subscribes to this one for the reverse stream; `control`
    /// when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<String>,
    /// How this server can be made to refuse applications.
    #[serde(default)]
    pub fence: FenceLevel,
}

/// How a server is closed to everybody but the control sessions, by what the
/// control role can do there.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum FenceLevel {
    /// Databases closed, and `pg_hba.conf` rewritten by SQL: self-managed server,
    /// superuser control role.
    #[serde(rename = "sql+hba")]
    SqlHba,
    /// Databases closed; `pg_hba.conf` out of reach. In the bake other superusers
    /// are kept out by NOLOGIN.
    #[default]
    #[serde(rename = "sql")]
    Sql,
}
