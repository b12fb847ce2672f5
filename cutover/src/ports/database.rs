use std::{fmt, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{Server, ServerName, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::Lsn;

/// Reaches PostgreSQL servers in one particular way (SQL, a cloud's API, on paper).
#[async_trait]
pub trait DatabaseProvider: fmt::Debug + Send + Sync {
    /// Opens the control session to database `postgres` of `server`.
    ///
    /// First ends every session that an older epoch of the same migration left there,
    /// so that no effect of a former leader can still be under way.
    ///
    /// # Errors
    /// [`ProviderError::Superseded`] when the server carries the fence of a newer epoch.
    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<Box<dyn ControlledServer>, ProviderError>;

    /// Opens read-only sessions for preflight checks; no side effect on the server.
    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError>;

    /// The fence record that a switch left in `server`, read without any store.
    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError>;
}

/// Who drives: part of the `application_name` of every control session, and of the
/// fence record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ControlId {
    pub migration: String,
    /// Grows with each leader, crash and abort.
    pub epoch: u64,
}

/// Reads for checks. Sessions are read-only, with short statement and lock timeouts.
#[async_trait]
pub trait Inspector: fmt::Debug + Send + Sync {
    /// The rows of one SELECT in `datname`, each as a JSON object.
    async fn rows(
        &self,
        datname: &str,
        select: &str,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, ProviderError>;
}

/// One PostgreSQL server under control, in the engine's verbs.
///
/// Every verb observes before it acts, so running it twice equals running it once.
/// Every wait is bounded by the verb's own deadline. Control sessions run with
/// `synchronous_commit = local` and `default_transaction_read_only = off`.
///
/// "None left", wherever sessions are ended: no row in `pg_stat_activity` with a
/// `datname`, apart from this object's own sessions, autovacuum workers and the
/// walsender that is the `active_pid` of a spared slot while it is `streaming`.
#[async_trait]
pub trait ControlledServer: fmt::Debug + Send + Sync {
    /// The catalogue's name of this server.
    fn name(&self) -> &ServerName;

    /// Identity, role, position and database list, read in one statement each.
    async fn observe(&self) -> Result<Observation, ProviderError>;

    /// Opens one control session per database and keeps it; a closed database accepts
    /// no new one, its superusers' included.
    async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Opens the control sessions of databases that are closed, on a promoted server
    /// that nobody may enter yet: `CONNECTION LIMIT 0` and `ALLOW_CONNECTIONS true`,
    /// sessions, closed again, barrier, everybody else ended. Needs a superuser.
    /// Returns the transaction ids that this took.
    async fn reenter_databases(&self, datnames: &[String]) -> Result<Vec<u64>, ProviderError>;

    /// Makes what a switch needs, on the source: `pg_walinspect` in `postgres`; the
    /// fence table; in each database the probe table and publication `pointsman_rb`
    /// (`FOR ALL TABLES`, `publish_via_partition_root`). Returns what WAL proofs
    /// must not count.
    async fn prepare(&self, datnames: &[String]) -> Result<Exempt, ProviderError>;

    /// Takes back what [`Self::prepare`] made.
    async fn unprepare(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Closes every database but `postgres`, templates included, limits `postgres`,
    /// and writes `fence` and the former settings into `pointsman.fence`, in one
    /// transaction; at level `sql+hba` rewrites `pg_hba.conf` as well and reloads it.
    /// Where this migration closed the server before, returns the settings recorded then.
    async fn close(&self, fence: &FenceRecord) -> Result<Closed, ProviderError>;

    /// Waits out every backend that passed the check of `datallowconn` before the
    /// closing (`ALTER DATABASE … SET TABLESPACE` to its own, which takes the lock that
    /// a starting backend holds).
    async fn barrier(&self) -> Result<(), ProviderError>;

    /// How many client backends began after `since`, on the server's own clock, apart from
    /// the control sessions.
    async fn newcomers(&self, since: UnixMillis) -> Result<u64, ProviderError>;

    /// Ends every session but the spared ones and waits until none is left. Returns
    /// how many were ended.
    ///
    /// # Errors
    /// [`ProviderError::TimedOut`] names the sessions that would not end.
    async fn end_sessions(
        &self,
        spare: &[ReverseSlot],
        deadline: Duration,
    ) -> Result<u64, ProviderError>;

    /// What contradicts "this server is closed and empty" now: an open database, a
    /// database that the record does not know, a session, a prepared transaction.
    async fn breaches(
        &self,
        record: &FenceRecord,
        spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError>;

    /// Tries a new connection to `datname` over TCP and says how the server answered.
    async fn try_connect(&self, datname: &str) -> Result<Refusal, ProviderError>;

    /// Waits until `pg_hba.conf` refuses a new connection in its own words (`true`), or
    /// does so no longer (`false`). At fence level `sql` returns at once.
    async fn await_hba(&self, refusing: bool, deadline: Duration) -> Result<(), ProviderError>;

    /// Writes a marker (`pg_logical_emit_message(true, 'pointsman.fence', …)`) in each of
    /// `datnames` and returns the end of the highest; every commit that was acknowledged
    /// before lies below it.
    async fn marker(&self, id: &str, datnames: &[String]) -> Result<Marker, ProviderError>;

    /// Counts user commits in this server's WAL from `since` to what is flushed now.
    async fn user_commits(&self, since: Lsn, exempt: &Exempt)
    -> Result<UserCommits, ProviderError>;

    /// Role and replay position, read in one statement.
    async fn replay(&self) -> Result<Replay, ProviderError>;

    /// Waits until the server is in recovery and has replayed `lsn`. Returns at once when
    /// it is no longer in recovery: the caller reads the role in the answer.
    async fn await_replay(&self, lsn: Lsn, deadline: Duration) -> Result<Replay, ProviderError>;

    /// Asks for promotion by one statement that the server itself guards: in recovery,
    /// replayed to the marker, every database but `postgres` closed, its own clock before
    /// the deadline.
    async fn promote(&self, guard: &PromoteGuard) -> Result<PromoteAnswer, ProviderError>;

    /// Waits until the server has left recovery.
    async fn await_primary(&self, deadline: Duration) -> Result<Observation, ProviderError>;

    /// How a standby is fed: its slot on the primary, and its `restore_command`.
    async fn standby_link(&self) -> Result<StandbyLink, ProviderError>;

    /// On a primary: ends the walsender of the physical slot `slot` and drops the slot, so
    /// that its standby receives nothing that happens here from now on.
    async fn cut_off_standby(&self, slot: &str) -> Result<(), ProviderError>;

    /// Makes one logical slot (`pgoutput`) per database, in parallel; existing ones stay.
    async fn create_reverse_slots(
        &self,
        datnames: &[String],
    ) -> Result<Vec<ReverseSlot>, ProviderError>;

    /// Drops slots, waiting for their walsenders to go; absent ones are no error.
    async fn drop_slots(&self, slots: &[ReverseSlot]) -> Result<(), ProviderError>;

    /// Restores the recorded settings of `closed` on this server and deletes the fence
    /// record, in one transaction; databases in `keep_closed` stay closed. Returns the
    /// ids of its transactions.
    async fn reopen(
        &self,
        closed: &Closed,
        keep_closed: &[String],
    ) -> Result<Vec<u64>, ProviderError>;

    /// Puts the recorded `pg_hba.conf` back, byte for byte, and reloads it. Nothing at
    /// level `sql`.
    async fn restore_hba(&self, closed: &Closed) -> Result<(), ProviderError>;

    /// Writes `value` into the probe table of `datname`.
    async fn write_probe(&self, datname: &str, value: i64) -> Result<(), ProviderError>;

    /// The newest value in the probe table of `datname`.
    async fn read_probe(&self, datname: &str) -> Result<Option<i64>, ProviderError>;

    /// Turns a closed former primary into the subscriber of its successor, keeping
    /// everybody else out: other login superusers `NOLOGIN`, barrier, `CONNECTION LIMIT 0`
    /// and `ALLOW_CONNECTIONS true`, everybody ended, one subscription per database.
    async fn arm(&self, subscriptions: &[SubscriptionSpec]) -> Result<Armed, ProviderError>;

    /// How far the subscriber of each slot is, on the publisher.
    async fn slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError>;

    /// Errors of the apply workers since they were counted first, by subscription, on the
    /// subscriber.
    async fn apply_errors(&self) -> Result<u64, ProviderError>;

    /// The sequences of `datname`.
    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError>;

    /// Sets sequences in one statement. Missing ones are an error that names them.
    async fn set_sequences(
        &self,
        datname: &str,
        values: &[SequenceValue],
    ) -> Result<(), ProviderError>;

    /// Stops the apply workers of the reverse stream and waits until they are gone.
    async fn disable_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Drops the subscriptions without touching the publisher's slots.
    async fn drop_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Gives LOGIN back to the roles that [`Self::arm`] took it from.
    async fn restore_logins(&self, armed: &Armed) -> Result<(), ProviderError>;
}

/// What a server says of itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Observation {
    /// `pg_control_system()`; a physical copy has its origin's.
    pub system_identifier: String,
    /// From the insert position on a primary, from the last checkpoint on a standby.
    pub timeline: u32,
    pub in_recovery: bool,
    /// Insert position on a primary, replay position on a standby.
    pub position: Lsn,
    /// `pg_last_wal_replay_lsn()`; after a promotion it stays where recovery ended.
    pub replayed: Option<Lsn>,
    /// `server_version_num`.
    pub version: u32,
    /// The server's own clock.
    pub clock: UnixMillis,
    pub databases: Vec<DatabaseSettings>,
}

/// One row of `pg_database`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DatabaseSettings {
    pub datname: String,
    pub oid: u32,
    pub allow_connections: bool,
    /// `datconnlimit`; -1 is none.
    pub connection_limit: i32,
    pub is_template: bool,
}

/// What a WAL proof does not count: relations by `tablespace/database/filenode`, and the
/// engine's own transactions.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exempt {
    pub filenodes: Vec<String>,
    pub xids: Vec<u64>,
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
    /// As they were before: empty in the request to close.
    pub closed: Closed,
}

/// The former settings of a closed server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Closed {
    pub databases: Vec<DatabaseSettings>,
    /// The former `pg_hba.conf`, at level `sql+hba`.
    pub hba: Option<String>,
    /// The ids of the transactions that closed it.
    pub xids: Vec<u64>,
}

/// One reason why a server is not closed and empty.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Breach {
    pub words: String,
}

/// How a server answered a new connection.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Refusal {
    /// It let the connection in.
    Accepted,
    /// It answered and refused, in these words.
    Refused { sqlstate: String, words: String },
    /// It did not answer.
    Unreachable { words: String },
}

/// A fence marker.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Marker {
    /// The end of the marker's record: the last LSN that must arrive.
    pub lsn: Lsn,
    /// The insert position after the marker's commit, from which proofs count.
    pub after: Lsn,
}

/// The result of a WAL proof.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UserCommits {
    pub count: u64,
    /// The flush position up to which was counted.
    pub through: Lsn,
}

/// Role and replay position, of one instant.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Replay {
    pub in_recovery: bool,
    pub replayed: Lsn,
}

/// Where a standby's WAL comes from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StandbyLink {
    /// `primary_slot_name`, when set.
    pub slot: Option<String>,
    /// `restore_command`, empty when WAL comes over the connection alone.
    pub restore_command: String,
}

/// The conditions under which a promotion may happen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PromoteGuard {
    pub marker: Lsn,
    /// On the target's clock.
    pub deadline: UnixMillis,
}

/// The answer to a guarded promotion.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum PromoteAnswer {
    /// The server has begun to promote.
    Asked,
    /// The guard did not hold; nothing happened.
    Refused,
    /// It was a primary already.
    AlreadyPrimary,
}

/// A logical slot of the reverse stream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReverseSlot {
    pub datname: String,
    pub slot: String,
    /// Where the stream begins.
    pub lsn: Lsn,
}

/// A subscription to make: `publisher` is a libpq string without `dbname`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscriptionSpec {
    pub datname: String,
    pub slot: String,
    pub publisher: String,
}

/// What arming changed, to be given back by a rollback.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Armed {
    pub nologin_roles: Vec<String>,
}

/// How far a slot's consumer is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SlotProgress {
    pub slot: String,
    /// A walsender serves it and is in state `streaming`.
    pub streaming: bool,
    pub confirmed: Lsn,
    /// The publisher's insert position when this was read.
    pub position: Lsn,
}

/// A sequence and its state, as `setval` takes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SequenceValue {
    /// Quoted, with schema.
    pub name: String,
    pub value: i64,
    pub is_called: bool,
}

/// Variants are what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Retry under the caller's deadline; then the server counts as unreachable.
    #[error("server {server} cannot be reached: {words}")]
    Unreachable { server: ServerName, words: String },
    /// A wait ended; the state is what it was.
    #[error("server {server}: {what} did not happen within {waited:?}: {found}")]
    TimedOut {
        server: ServerName,
        what: String,
        waited: Duration,
        found: String,
    },
    /// A statement failed; it was rolled back.
    #[error("server {server}: {what} failed: {words}")]
    Failed {
        server: ServerName,
        what: String,
        words: String,
    },
    /// A newer leader drives this server: stop.
    #[error(
        "server {server} carries the fence of migration {migration} at epoch {found}, newer than \
         this engine's {own}; this engine must not drive it"
    )]
    Superseded {
        server: ServerName,
        migration: String,
        found: u64,
        own: u64,
    },
    /// A setting or right is missing; a person must grant it.
    #[error("server {server}: {words}")]
    Unfit { server: ServerName, words: String },
}
