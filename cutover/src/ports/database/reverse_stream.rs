//! The reverse stream carries what is written on the target back to the source, by logical
//! replication.

use std::fmt;

use async_trait::async_trait;
use pointsman_catalog::Server;
use serde::{Deserialize, Serialize};

use super::error::ProviderError;
use crate::Lsn;

/// The sending end of the reverse stream: the target, once it is a primary.
#[async_trait]
pub trait ReversePublisher: fmt::Debug + Send + Sync {
    /// Makes one logical slot (`pgoutput`) per database, in parallel; existing ones stay.
    async fn create_slots(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError>;

    /// The reverse slots of `datnames` that are there, also those of an attempt that was cut off.
    async fn slots_there(&self, datnames: &[String]) -> Result<Vec<ReverseSlot>, ProviderError>;

    /// Drops slots, waiting for their walsenders to go; absent ones are no error.
    async fn drop_slots(&self, slots: &[ReverseSlot]) -> Result<(), ProviderError>;

    /// How far the subscriber of each slot is. A slot that is gone or lost is not among them.
    async fn slot_progress(
        &self,
        slots: &[ReverseSlot],
    ) -> Result<Vec<SlotProgress>, ProviderError>;

    /// Which of `slots` cannot deliver any more, and why, each with its database: it is gone, the
    /// server has removed WAL that it needed, or the publication is gone.
    async fn missing(&self, slots: &[ReverseSlot]) -> Result<Vec<String>, ProviderError>;

    /// The tables in `datnames` that the stream does not carry, each as `datname.schema.table`.
    async fn left_out(&self, datnames: &[String]) -> Result<Vec<String>, ProviderError>;

    /// The sequences of `datname`, which the stream does not carry.
    async fn sequences(&self, datname: &str) -> Result<Vec<SequenceValue>, ProviderError>;
}

/// The receiving end of the reverse stream: the closed source.
#[async_trait]
pub trait ReverseSubscriber: fmt::Debug + Send + Sync {
    /// Turns a closed former primary into the subscriber of its successor, keeping
    /// everybody else out: other superusers and replication roles `NOLOGIN` as far as the control role may,
    /// starting backends awaited, strangers kept out as by `SessionControl::reenter_databases`,
    /// everybody ended, one subscription per database.
    async fn arm(&self, subscriptions: &[SubscriptionSpec]) -> Result<Armed, ProviderError>;

    /// Sets each sequence of `datname` that is behind the greatest value of the integer column that
    /// it belongs to, to that value. Returns how many there were.
    async fn raise_sequences(&self, datname: &str) -> Result<usize, ProviderError>;

    /// The names of those of `sequences` that do not exist in `datname` here.
    async fn lacking_sequences(
        &self,
        datname: &str,
        sequences: &[SequenceValue],
    ) -> Result<Vec<String>, ProviderError>;

    /// Sets sequences in one statement. Those that do not exist here are left out; returns how
    /// many were set.
    async fn set_sequences(
        &self,
        datname: &str,
        values: &[SequenceValue],
    ) -> Result<usize, ProviderError>;

    /// Stops the apply workers and waits until they are gone.
    async fn disable_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Drops the subscriptions without touching the publisher's slots.
    async fn drop_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Gives LOGIN back to the roles that [`Self::arm`] took it from.
    async fn restore_logins(&self, armed: &Armed) -> Result<(), ProviderError>;
}

/// A logical slot of the reverse stream.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReverseSlot {
    pub datname: String,
    pub slot: String,
    /// Where the stream begins.
    pub lsn: Lsn,
}

/// A subscription to make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SubscriptionSpec {
    pub datname: String,
    pub slot: String,
    pub publisher: Server,
}

/// What arming changed, to be given back by a rollback.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Armed {
    pub nologin_roles: Vec<String>,
    /// Roles that can log in all the same: the control role may not take that from them.
    pub still_admitted: Vec<String>,
}

/// How far a slot's consumer is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SlotProgress {
    pub slot: String,
    /// A walsender serves it and is in state `streaming`.
    pub streaming: bool,
    pub confirmed: Lsn,
    /// From here on the publisher keeps its WAL for it.
    pub kept_from: Lsn,
    /// The publisher's insert position when this was read. The subscriber may not get there before
    /// somebody commits.
    pub position: Lsn,
}

impl SlotProgress {
    /// Bytes of WAL that its consumer has not confirmed.
    pub fn behind_bytes(&self) -> u64 {
        self.position.0.saturating_sub(self.confirmed.0)
    }

    /// Bytes of WAL that the publisher keeps for it.
    pub fn kept_bytes(&self) -> u64 {
        self.position.0.saturating_sub(self.kept_from.0)
    }
}

/// A sequence and its state as it has it itself, and as `setval` takes it.
/// <https://www.postgresql.org/docs/current/functions-sequence.html>
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SequenceValue {
    /// Quoted, with schema.
    pub name: String,
    pub value: i64,
    pub is_called: bool,
}
