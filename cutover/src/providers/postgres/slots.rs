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
            .rows(what, SLOTS, &[&slots, &control.powers.superuser])
            .await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            let (slot, pid): (String, Option<i32>) = (row.get(0), row.get(1));
            let may_end: bool = row.get(2);
            if let Some(pid) = pid.filter(|_| !may_end) {
                found = format!(
                    "slot {slot} is used by a superuser's walsender (pid {pid}), which only a \
                     superuser may end"
                );
            }
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

/// Ends the walsenders too, those of superusers apart, which only superusers may end.
const SLOTS: &str = "SELECT s.slot_name::text, s.active_pid, e.may_end, \
       CASE WHEN e.may_end THEN pg_terminate_backend(s.active_pid) END \
     FROM pg_replication_slots s, LATERAL (SELECT s.active_pid IS NOT NULL AND ($2 OR EXISTS ( \
       SELECT FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid \
       WHERE a.pid = s.active_pid AND NOT r.rolsuper))) AS e (may_end) \
     WHERE s.slot_name = ANY ($1)";

const DROP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
