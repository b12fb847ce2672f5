use std::time::Duration;

use crate::ports::Monotonic;

use super::state::StreamState;

/// Whether the reverse stream has been silent for so long that it needs a new proof.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamWatch {
    silent_since: Option<Monotonic>,
}

impl StreamWatch {
    /// The stream was seen streaming.
    pub fn streams(&mut self) {
        self.silent_since = None;
    }

    /// The stream was seen `at` this time and does not stream. Whether a proven stream has
    /// lapsed with that.
    pub fn is_silent(&mut self, at: Monotonic, stream: StreamState) -> bool {
        let since = *self.silent_since.get_or_insert(at);
        let lapsed = match stream {
            StreamState::Proven => at.since(since) > LAPSE,
            StreamState::Arming | StreamState::ArmingForRollback | StreamState::Broken => false,
        };
        if lapsed {
            self.silent_since = None;
        }
        lapsed
    }
}

/// A subscriber's walsender may be restarted; longer silence needs a new proof.
const LAPSE: Duration = Duration::from_secs(2);
