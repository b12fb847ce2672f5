use std::fmt;

use async_trait::async_trait;

use super::{error::ProviderError, wal_proof::Exempt};

/// What a switch needs on the source beforehand.
#[async_trait]
pub trait Preparation: fmt::Debug + Send + Sync {
    /// Makes `pg_walinspect` in `postgres`; the fence table; in each database the probe table
    /// and publication `pointsman_rb` (`FOR ALL TABLES`, `publish_via_partition_root`; without
    /// superuser no extension, and the publication names its tables).
    /// Returns what WAL proofs must not count.
    async fn prepare(&self, datnames: &[String]) -> Result<Exempt, ProviderError>;

    /// Brings that up to date before a switch: adds what was made since to publications that
    /// name their tables.
    async fn complete(&self, datnames: &[String]) -> Result<(), ProviderError>;

    /// Takes back what [`Self::prepare`] made.
    async fn unprepare(&self, datnames: &[String]) -> Result<(), ProviderError>;
}
