use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long the engine waits for what.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Settings {
    /// The absolute length of a hold, after which parked clients are refused. Below the
    /// connect timeouts of clients, above everything below it taken together.
    pub hold_budget: Duration,
    /// From the last acknowledgement to the fence: an acknowledgement is not yet use
    /// (connections reached the old writer up to 28 ms after it).
    pub settle: Duration,
    /// How long a hold waits at most for logins that are under way; never longer than a
    /// quarter of the hold.
    pub login: Duration,
    /// How long a hold waits at most, once nobody logs in any more, for connections that were
    /// made at its beginning to end by themselves.
    pub quiet: Duration,
    /// How long a barrier waits for the fleet.
    pub barrier_deadline: Duration,
    /// How long the new writer may take to receive what the old one had, where it is not to be
    /// as long as its provider says.
    pub catch_up: Option<Duration>,
    /// How long a guarded promotion may be under way, on the target's own clock, where it is not
    /// to be as long as the target's provider says.
    pub promote: Option<Duration>,
    /// How long an undo tries to reach the source before it calls an operator.
    pub undo: Duration,
    /// How long a rollback waits at most for the reverse stream, while the target serves.
    pub rollback_wait: Duration,
    /// How many bytes of WAL the slots of the reverse stream may keep on the serving target before
    /// the status says so.
    pub slots_warn: u64,
    /// The same before they are dropped, and with them the lossless way back.
    pub slots_drop: u64,
    /// The interval between looks at the reverse stream during a bake.
    pub watch_interval: Duration,
    /// How long a bake is expected to last; checks look that far ahead.
    pub bake: Duration,
    /// How long a passed preflight counts.
    pub preflight_age: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hold_budget: Duration::from_secs(10),
            settle: Duration::from_millis(60),
            login: Duration::from_secs(2),
            quiet: Duration::from_millis(500),
            barrier_deadline: Duration::from_secs(2),
            catch_up: None,
            promote: None,
            undo: Duration::from_secs(30),
            rollback_wait: Duration::from_secs(10 * 60),
            slots_warn: 8 * GIB,
            slots_drop: 32 * GIB,
            watch_interval: Duration::from_millis(250),
            bake: Duration::from_secs(24 * 60 * 60),
            preflight_age: Duration::from_secs(24 * 60 * 60),
        }
    }
}

const GIB: u64 = 1 << 30;
