use std::time::Duration;

/// When the alarm fires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConnectFailureSettings {
    /// Failed attempts in a second from which a sidecar counts as failing. One connection that
    /// is not made is tried some forty times a second.
    pub(crate) per_second: u32,
    /// How many percent of the reporting sidecars must fail at once; at least two sidecars.
    pub(crate) percent: u32,
    /// How long they must fail without a pause.
    pub(crate) lasting: Duration,
}

impl Default for ConnectFailureSettings {
    fn default() -> Self {
        Self {
            per_second: 5,
            percent: 10,
            lasting: Duration::from_secs(5),
        }
    }
}
