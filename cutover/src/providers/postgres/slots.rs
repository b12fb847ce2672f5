//! Replication slots, physical and logical.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::control_sessions::ControlSessions;
use crate::ports::ProviderError;

/// Ends the walsenders of slots and drops them; absent ones are no error.
pub(super) async fn drop_named(
    control: &ControlSessions,
    slots: &[String],
) -> Result<(), ProviderError> {
    let deadline = Instant::now() + DROP;
    let what = "drop replication slots";
    let mut found = "they are in use".to_owned();
    loop {
        let rows = control
            .postgres
            .rows(
                what,
                "SELECT slot_name::text, active_pid, \
                   CASE WHEN active_pid IS NOT NULL THEN pg_terminate_backend(active_pid) END \
                 FROM pg_replication_slots WHERE slot_name = ANY ($1)",
                &[&slots],
            )
            .await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let (slot, pid): (String, Option<i32>) = (row.get(0), row.get(1));
            if pid.is_none() {
                // Its consumer may come back in between: then the next round ends it again.
                let drop = "SELECT pg_drop_replication_slot($1)";
                if let Err(error) = control.postgres.rows(what, drop, &[&slot]).await {
                    found = error.to_string();
                }
            }
        }
        if Instant::now() >= deadline {
            return Err(control.timed_out("the end of replication slots", DROP, found));
        }
        sleep(POLL).await;
    }
}

const DROP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
