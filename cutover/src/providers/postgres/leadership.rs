//! One leader at a time drives a server: the newest epoch of a migration.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    control_sessions::ControlSessions,
    record,
    session::control_prefix,
    statements::{has_secret, runs_with_secret},
};
use crate::{machine::supersedes, ports::ProviderError};

/// Makes sure that this leader is the newest one and that no former one can act any more.
pub(super) async fn take_over(control: &ControlSessions) -> Result<(), ProviderError> {
    refuse_newer_fence(control).await?;
    end_former_leader(control).await
}

/// A fence of this migration at a newer epoch means that another engine drives it.
async fn refuse_newer_fence(control: &ControlSessions) -> Result<(), ProviderError> {
    let records = record::read_all(&control.postgres).await?;
    let newer = records.into_iter().find(|found| {
        found.migration == control.leader.migration && supersedes(found.epoch, control.leader.epoch)
    });
    newer.map_or(Ok(()), |found| Err(control.superseded(found)))
}

/// Ends what an older epoch left, and sessions of this one that were given up, and waits
/// until they are gone: nothing that was sent before can take effect after this.
async fn end_former_leader(control: &ControlSessions) -> Result<(), ProviderError> {
    let prefix = control_prefix(&control.leader);
    let began = Instant::now();
    let deadline = began + FORMER_LEADER;
    loop {
        let rows = control
            .postgres
            .rows(
                "end the former leader's sessions",
                FORMER_SESSIONS,
                &[&prefix],
            )
            .await?;
        let mut left = 0;
        for row in &rows {
            let name: String = row.get(0);
            let epoch = name
                .strip_prefix(&prefix)
                .and_then(|epoch| epoch.parse().ok());
            if let Some(found) = epoch.filter(|&epoch| supersedes(epoch, control.leader.epoch)) {
                return Err(ProviderError::Superseded {
                    server: control.server.name.clone(),
                    migration: control.leader.migration.clone(),
                    found,
                    own: control.leader.epoch,
                });
            }
            left += 1;
        }
        if left == 0 {
            return Ok(());
        }
        let pids: Vec<i32> = rows.iter().map(|row| row.get(1)).collect();
        let at_once = began.elapsed() > CANCELLING;
        control
            .postgres
            .rows("end the former leader's sessions", END, &[&pids, &at_once])
            .await?;
        if Instant::now() >= deadline {
            let found = format!("{left} are left");
            return Err(control.timed_out(
                "the end of the former leader's sessions",
                FORMER_LEADER,
                found,
            ));
        }
        sleep(POLL).await;
    }
}

const FORMER_SESSIONS: &str = "SELECT application_name, pid FROM pg_stat_activity \
     WHERE starts_with(application_name, $1) AND usename = session_user \
       AND pid <> pg_backend_pid()";

/// What runs is cancelled first. A session that has a connection string is never ended while a statement
/// of it runs, and has a second to begin the next one.
const END: &str = concat!(
    "SELECT CASE WHEN ",
    runs_with_secret!(""),
    " THEN pg_cancel_backend(pid) \
       WHEN ",
    has_secret!(""),
    " AND state = 'idle in transaction' \
         AND state_change > clock_timestamp() - interval '1 second' THEN false \
       WHEN state = 'active' AND NOT $2 THEN pg_cancel_backend(pid) \
       ELSE pg_terminate_backend(pid) END FROM pg_stat_activity WHERE pid = ANY ($1)"
);

/// A backend without such a string that does not heed a cancellation for so long is ended all the same.
const CANCELLING: Duration = Duration::from_millis(500);
/// A backend that was told to end does so at its next look, within milliseconds.
const FORMER_LEADER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
