use std::{io, time::Duration};

use tokio::time::Instant;
use tracing::warn;

/// What the listener's errors say of the server since it last accepted a connection.
#[derive(Debug, Default)]
pub(super) struct AcceptErrors {
    told: bool,
    /// Since when it has failed without being short of anything.
    failing: Option<Instant>,
}

impl AcceptErrors {
    /// Enters an error, and tells the first. Says whether it has lasted for too long. A lack
    /// of file handles or of memory never does: it ends when others give some back.
    pub(super) fn is_hopeless(&mut self, error: &io::Error, now: Instant) -> bool {
        if !std::mem::replace(&mut self.told, true) {
            warn!(%error, "connections cannot be accepted");
        }
        if is_scarcity(error) {
            self.failing = None;
            return false;
        }
        now - *self.failing.get_or_insert(now) > HOPELESS
    }
}

fn is_scarcity(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::OutOfMemory || code.is_some_and(|code| SCARCITY.contains(&code))
}

/// ENFILE, EMFILE and ENOBUFS, which have no [`io::ErrorKind`].
const SCARCITY: [i32; 3] = [23, 24, if cfg!(target_os = "linux") { 105 } else { 55 }];
const HOPELESS: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    const EINVAL: i32 = 22;
    const ENOMEM: i32 = 12;

    /// Whether this error, once a second from `start` on, is hopeless in the end.
    fn lasting(errors: &mut AcceptErrors, code: i32, start: Instant, seconds: u64) -> bool {
        let error = io::Error::from_raw_os_error(code);
        (0..=seconds)
            .map(|second| errors.is_hopeless(&error, start + Duration::from_secs(second)))
            .last()
            .unwrap()
    }

    fn lasting_alone(code: i32, seconds: u64) -> bool {
        lasting(&mut AcceptErrors::default(), code, Instant::now(), seconds)
    }

    #[test]
    fn a_lack_of_handles_or_memory_is_waited_out_however_long_it_lasts() {
        for code in SCARCITY.into_iter().chain([ENOMEM]) {
            assert!(!lasting_alone(code, 86_400), "{code}");
        }
    }

    #[test]
    fn any_other_error_is_hopeless_after_a_minute() {
        assert!(!lasting_alone(EINVAL, 60));
        assert!(lasting_alone(EINVAL, 61));
    }

    #[test]
    fn what_came_before_a_lack_of_something_does_not_count() {
        let mut errors = AcceptErrors::default();
        let start = Instant::now();
        let minute = Duration::from_mins(1);
        assert!(!lasting(&mut errors, EINVAL, start, 59));
        assert!(!lasting(&mut errors, SCARCITY[0], start + minute, 59));
        assert!(!lasting(&mut errors, EINVAL, start + 2 * minute, 60));
    }
}
