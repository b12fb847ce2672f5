use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::ServerName;
use serde::{Deserialize, Serialize};

use super::{error::ProviderError, observe::DatabaseSettings, reverse_stream::ReverseSlot};

/// Closes a server to everybody but the control sessions, proves that, and opens it again.
#[async_trait]
pub trait Fence: fmt::Debug + Send + Sync {
    /// Closes every database but `postgres`, templates included, shuts `postgres` to all but
    /// the control role, leaves those alone that the control role does not own,
    /// and writes `fence` and the former settings into `pointsman.fence`, in one
    /// transaction; at level `sql+hba` rewrites `pg_hba.conf` as well and reloads it.
    /// Where this migration closed the server before, returns the settings recorded then.
    async fn close(&self, fence: &FenceRecord) -> Result<FormerSettings, ProviderError>;

    /// What contradicts "this server is closed and empty" now: an open database, a
    /// database that the record does not know, a session, a prepared transaction.
    async fn breaches(
        &self,
        record: &FenceRecord,
        spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError>;

    /// What contradicts "nobody but the control role and the apply workers comes in" in a bake:
    /// the same, but that databases in `armed` may be open to nobody else, that the roles which lost
    /// LOGIN for that have not got it back, and that the rewritten `pg_hba.conf` is still there and
    /// loaded: now and then a connection tries it.
    async fn bake_breaches(
        &self,
        record: &FenceRecord,
        armed: &[String],
    ) -> Result<Vec<Breach>, ProviderError>;

    /// Waits until `rules` are in force for new connections. At fence level `sql` returns at
    /// once.
    async fn await_access_rules(
        &self,
        rules: AccessRules,
        deadline: Duration,
    ) -> Result<(), ProviderError>;

    /// Puts the recorded access rules back, byte for byte, and reloads them. Nothing at
    /// level `sql`.
    async fn restore_access_rules(&self, former: &FormerSettings) -> Result<(), ProviderError>;

    /// Restores the recorded settings of `former` on this server and deletes the fence
    /// record, in one transaction; databases in `keep_closed` stay closed.
    async fn reopen(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<(), ProviderError>;
}

/// Who may connect to a server at all: `pg_hba.conf` at level `sql+hba`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccessRules {
    /// Strangers are refused, by a message of the rules' own.
    Fenced,
    /// As they were before the fence.
    Former,
}

/// What the fence writes into the server that it closes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FenceRecord {
    pub migration: String,
    pub epoch: u64,
    /// The server that was closed; a copy of the record on its standby is recognised by
    /// the standby's larger timeline.
    pub server: ServerName,
    pub timeline: u32,
    /// The server that takes over is promoted by an API: a request that was sent cannot be called
    /// back, and may come through at any time.
    pub promoted_by_api: bool,
    /// How long after it is sent the server that takes over heeds a request to promote, on its own
    /// clock.
    pub promote_within: Duration,
    /// Empty in the request to close.
    pub former: FormerSettings,
}

/// The settings of a closed server as they were before.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FormerSettings {
    pub databases: Vec<DatabaseSettings>,
    /// The former `pg_hba.conf`, at level `sql+hba`.
    pub hba: Option<String>,
    /// The access lists of databases that are shut by them, by `datname`. Empty where the
    /// control role is a superuser: then a connection limit shuts.
    #[serde(default)]
    pub acls: BTreeMap<String, Vec<AclItem>>,
    /// Databases that were left open, because the control role does not own them.
    #[serde(default)]
    pub not_closable: Vec<String>,
}

/// One item of a database's access list (`aclitem`).
/// <https://www.postgresql.org/docs/current/ddl-priv.html>
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AclItem {
    /// `None` is PUBLIC.
    pub grantee: Option<String>,
    pub grantor: String,
    /// PostgreSQL's letters: `C` create, `T` temporary, `c` connect; `*` is the grant option.
    pub privileges: String,
}

/// One reason why a server is not closed and empty.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Breach {
    pub kind: BreachKind,
    pub message: String,
}

/// What can be done about a breach.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum BreachKind {
    /// Somebody lifted the fence: [`Fence::close`] puts it back.
    Opened,
    /// A session is left: it can be ended.
    Session,
    /// The same, of the replication protocol: it passes a connection limit, and writes like any other.
    Walsender,
    /// A transaction was prepared, and can be committed by whoever comes in.
    Prepared,
    /// Closing again does not mend it.
    Lasting,
}
