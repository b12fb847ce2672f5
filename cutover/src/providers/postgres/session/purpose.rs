use crate::ports::ControlId;

/// What a session is for; decides its name and settings on the server.
#[derive(Clone, Debug)]
pub(in super::super) enum Purpose {
    /// Drives a switch.
    Control(ControlId),
    /// Reads for checks, and may change nothing.
    Preflight,
    /// Tries for checks, in transactions that are rolled back.
    Trial,
    /// Reads or takes back a fence without any store.
    Recovery,
    /// Writes what is no user's, on a server that no migration drives.
    Passing,
}

/// The `application_name` of sessions that come and go beside a switch.
pub(in super::super) const PASSING: &str = "pointsman-preflight";

impl Purpose {
    /// Whether a session for it writes nothing, so that no proof need count it.
    pub(in super::super) fn only_reads(&self) -> bool {
        matches!(self, Self::Preflight)
    }

    pub(in super::super) fn application_name(&self) -> String {
        match self {
            Self::Control(control) => format!("{}{}", control_prefix(control), control.epoch),
            Self::Preflight | Self::Trial | Self::Passing => PASSING.to_owned(),
            Self::Recovery => "pointsman-recover".to_owned(),
        }
    }

    /// Server settings of the session. An effect must not wait for a standby that this very
    /// switch makes go away, nor be stopped by a read-only default, and the names in its
    /// statements are PostgreSQL's own.
    pub(in super::super) fn options(&self) -> &'static str {
        match self {
            Self::Control(_) | Self::Recovery | Self::Passing => {
                "-c synchronous_commit=local -c default_transaction_read_only=off \
                 -c search_path=pg_catalog -c work_mem=32MB -c statement_timeout=4s -c lock_timeout=3s \
                 -c row_security=off -c client_connection_check_interval=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=10s"
            }
            Self::Preflight => {
                "-c search_path=pg_catalog -c row_security=off -c statement_timeout=5s \
                 -c lock_timeout=100ms -c default_transaction_read_only=on"
            }
            // A standby takes a transaction that may write by default, and none that asks for it.
            Self::Trial => {
                "-c search_path=pg_catalog -c row_security=off -c statement_timeout=4s \
                 -c lock_timeout=100ms -c default_transaction_read_only=off"
            }
        }
    }
}

/// The part of a control session's `application_name` before its epoch.
pub(in super::super) fn control_prefix(control: &ControlId) -> String {
    format!("pointsman/{}/", control.migration)
}
