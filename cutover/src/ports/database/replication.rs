use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::error::ProviderError;
use crate::Lsn;

/// The physical replication between the two servers, seen from one of them.
#[async_trait]
pub trait Replication: fmt::Debug + Send + Sync {
    /// Whether the server is in recovery and how far it has replayed, read in one statement.
    async fn replay(&self) -> Result<Replay, ProviderError>;

    /// Waits until the server is in recovery and has replayed `lsn`. Returns at once when
    /// it is no longer in recovery: the caller reads that in the answer.
    async fn await_replay(&self, lsn: Lsn, deadline: Duration) -> Result<Replay, ProviderError>;

    /// How a standby is fed: its slot on the primary, and its `restore_command`.
    async fn standby_link(&self) -> Result<StandbyLink, ProviderError>;

    /// On a primary: ends the walsender of the physical slot `slot` and drops the slot, so
    /// that its standby receives nothing that happens here from now on.
    async fn cut_off_standby(&self, slot: &str) -> Result<(), ProviderError>;

    /// The names (`application_name`) of the standbys that stream from here and are not fed by `slot`.
    async fn other_standbys(&self, _slot: Option<&str>) -> Result<Vec<String>, ProviderError> {
        Ok(Vec::new())
    }

    /// Which standbys commits wait for. By default for none.
    async fn synchronous(&self) -> Result<Synchronous, ProviderError> {
        Ok(Synchronous::default())
    }

    /// Whether as many of the standbys that `names` wants stream from here as it wants. By default not.
    async fn has_connected(&self, _names: &str) -> Result<bool, ProviderError> {
        Ok(false)
    }

    /// Sets `synchronous_standby_names` on the server and reloads it; does not wait for the reload.
    async fn wait_for_standbys(&self, _names: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    /// `synchronous_standby_names` as an `ALTER SYSTEM` has set it, if one has.
    async fn standbys_set(&self) -> Result<StandbysSet, ProviderError> {
        Ok(StandbysSet::default())
    }

    /// Puts that back and reloads; does not wait for the reload.
    async fn put_standbys_back(&self, _former: &StandbysSet) -> Result<(), ProviderError> {
        Ok(())
    }

    /// How commits that wait for these standbys get on. By default none is connected.
    async fn synchrony(&self, _standbys: &[String]) -> Result<Synchrony, ProviderError> {
        Ok(Synchrony::default())
    }
}

/// `synchronous_standby_names` as it was set on a server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct StandbysSet {
    /// By `ALTER SYSTEM`; `None` where that has set nothing.
    pub by_alter_system: Option<String>,
}

/// How commits that wait for some standbys get on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Synchrony {
    /// Each of them is connected, and commits wait for each.
    pub in_sync: bool,
    /// For how long the commit that waits longest has waited, as far as the control role may see.
    pub longest_wait: Duration,
}

/// The standbys that commits wait for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Synchronous {
    /// `synchronous_standby_names`, empty when commits wait for none.
    pub names: String,
    /// As many of them as it wants are connected.
    pub enough: bool,
}

/// Whether a server is in recovery and what it has replayed, at one instant.
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
