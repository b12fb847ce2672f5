use std::fmt;

use async_trait::async_trait;

use super::error::ProviderError;

/// One row in a table of the engine's own, which no audit counts: the first write after an
/// opening, and the sign that the reverse stream runs.
#[async_trait]
pub trait ProbeTable: fmt::Debug + Send + Sync {
    /// Writes `value` into the probe table of `datname`.
    async fn write_probe(&self, datname: &str, value: i64) -> Result<(), ProviderError>;

    /// Whether `datname` has the probe table.
    async fn is_there(&self, datname: &str) -> Result<bool, ProviderError>;

    /// The newest value in the probe table of `datname`.
    async fn read_probe(&self, datname: &str) -> Result<Option<i64>, ProviderError>;
}
