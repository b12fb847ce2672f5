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
    /// How long a hold waits at most for connections that were made at its beginning to
    /// end by themselves.
    pub quiet: Duration,
    /// How long a barrier waits for the fleet.
    pub barrier_deadline: Duration,
    /// How long sessions may take to end once they were told to.
    pub end_sessions: Duration,
    /// How long the new writer may take to receive what the old one had.
    pub catch_up: Duration,
    /// How long a promotion may be under way, on the target's own clock.
    pub promote: Duration,
    /// How long an undo tries to reach the source before it calls an operator.
    pub undo: Duration,
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
            quiet: Duration::from_millis(500),
            barrier_deadline: Duration::from_secs(2),
            end_sessions: Duration::from_secs(2),
            catch_up: Duration::from_secs(3),
            promote: Duration::from_secs(5),
            undo: Duration::from_secs(30),
            watch_interval: Duration::from_millis(250),
            bake: Duration::from_secs(24 * 60 * 60),
            preflight_age: Duration::from_secs(24 * 60 * 60),
        }
    }
}
