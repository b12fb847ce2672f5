use std::sync::Arc;

use async_trait::async_trait;

use super::control_sessions::ControlSessions;
use crate::ports::{ProbeTable, ProviderError};

/// Row 1 of table `pointsman.probe` in each database.
#[derive(Debug)]
pub(super) struct SqlProbeTable {
    control: Arc<ControlSessions>,
}

impl SqlProbeTable {
    pub(super) fn new(control: Arc<ControlSessions>) -> Self {
        Self { control }
    }
}

#[async_trait]
impl ProbeTable for SqlProbeTable {
    async fn write_probe(&self, datname: &str, value: i64) -> Result<(), ProviderError> {
        self.control
            .database(datname)?
            .rows(
                "write the probe row",
                "INSERT INTO pointsman.probe (id, value) VALUES (1, $1) ON CONFLICT (id) \
                 DO UPDATE SET value = excluded.value, at = clock_timestamp()",
                &[&value],
            )
            .await?;
        Ok(())
    }

    async fn is_there(&self, datname: &str) -> Result<bool, ProviderError> {
        let row = self
            .control
            .database(datname)?
            .row(
                "look for the probe table",
                "SELECT to_regclass('pointsman.probe') IS NOT NULL",
                &[],
            )
            .await?;
        Ok(row.get(0))
    }

    async fn read_probe(&self, datname: &str) -> Result<Option<i64>, ProviderError> {
        let rows = self
            .control
            .database(datname)?
            .rows(
                "read the probe row",
                "SELECT value FROM pointsman.probe WHERE id = 1",
                &[],
            )
            .await?;
        Ok(rows.first().map(|row| row.get(0)))
    }
}
