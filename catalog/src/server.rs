use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Endpoint, ServerName};

/// One running PostgreSQL server ("cluster" in PostgreSQL's own word).
///
/// Its role, timeline and system identifier are observed on every session and
/// never declared.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The operator's name for it.
    pub name: ServerName,
    /// The addresses to which sidecars connect.
    pub endpoint: Endpoint,
    /// libpq string or URI with which the control role connects to the database `postgres`. It holds
    /// no password, and is never logged all the same.
    pub control: String,
    /// Where the control role's password is, unless `control` names a password file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_password: Option<PasswordSource>,
    /// libpq string or URI, without `dbname`, with which the *other* server of a migration
    /// subscribes to this one for the reverse stream. Files that it names are on that server. The
    /// default is `control`, with its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<String>,
    /// Where the password for `replication` is; the control plane reads it and hands it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_password: Option<PasswordSource>,
    /// libpq string or URI with which the write probe connects by way of the sidecars, as a role that
    /// can write the probe table and nothing else. Without it there is no write probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// Where the password for `probe` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_password: Option<PasswordSource>,
    /// How this server can be fenced.
    #[serde(default)]
    pub fence: FenceLevel,
}

/// Where a password is read at each connection. Which files and variables may be read is up to the
/// settings of the control plane.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordSource {
    /// A file that holds the password and nothing else, but for one newline at its end.
    File(PathBuf),
    /// A variable in the environment of the control plane.
    Environment(String),
}

/// How a server is closed to all but the control sessions. It depends on the rights of the control
/// role.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum FenceLevel {
    /// Databases are closed, and `pg_hba.conf` is rewritten by SQL: self-managed server, superuser
    /// control role.
    #[serde(rename = "sql+hba")]
    SqlHba,
    /// Databases are closed; `pg_hba.conf` cannot be changed. In the bake other superusers are kept out
    /// by NOLOGIN.
    #[default]
    #[serde(rename = "sql")]
    Sql,
}

/// Why a fence level was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not known; allowed: \"sql+hba\", \"sql\"")]
pub struct FenceLevelError(String);

/// Leaves out the connection strings.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// The same server as the write probe reaches it, if one is declared.
    #[must_use]
    pub fn as_probed(&self) -> Option<Self> {
        let probe = self.probe.as_ref()?;
        Some(Self {
            control: probe.clone(),
            control_password: self.probe_password.clone(),
            ..self.clone()
        })
    }
}

impl FenceLevel {
    /// The level as the declaration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SqlHba => "sql+hba",
            Self::Sql => "sql",
        }
    }
}

impl fmt::Display for FenceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FenceLevel {
    type Err = FenceLevelError;

    fn from_str(text: &str) -> Result<Self, FenceLevelError> {
        [Self::SqlHba, Self::Sql]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| FenceLevelError(text.to_owned()))
    }
}
