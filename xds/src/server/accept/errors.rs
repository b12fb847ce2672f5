use std::{io, time::Duration};

use tokio::time::Instant;
use tracing::warn;

/// The listener's errors since it last accepted a connection.
#[derive(Debug, Default)]
pub(super) struct AcceptErrors {
    logged: bool,
    /// Since when it has failed for another reason than a lack of file handles or memory.
    failing: Option<Instant>,
}

impl AcceptErrors {
    /// Enters an error and logs the first one. Returns whether errors have lasted for too long. A lack
    /// of file handles or memory is waited for without a limit.
    pub(super) fn is_permanent(&mut self, error: &io::Error, now: Instant) -> bool {
        if !std::mem::replace(&mut self.logged, true) {
            warn!(%error, "connections cannot be accepted");
        }
        if is_shortage(error) {
            self.failing = None;
            return false;
        }
        now - *self.failing.get_or_insert(now) > PERMANENT
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::OutOfMemory || code.is_some_and(|code| SHORTAGE.contains(&code))
}

/// ENFILE, EMFILE and ENOBUFS, which have no [`io::ErrorKind`].
const SHORTAGE: [i32; 3] = [23, 24, if cfg!(target_os = "linux") { 105 } else { 55 }];
const PERMANENT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    const EINVAL: i32 = 22;
    const ENOMEM: i32 = 12;

    /// Whether this error is permanent after it has occurred each second since `start`.
    fn lasting(errors: &mut AcceptErrors, code: i32, start: Instant, seconds: u64) -> bool {
        let error = io::Error::from_raw_os_error(code);
        (0..=seconds)
            .map(|second| errors.is_permanent(&error, start + Duration::from_secs(second)))
            .last()
            .unwrap()
    }

    fn lasting_alone(code: i32, seconds: u64) -> bool {
        lasting(&mut AcceptErrors::default(), code, Instant::now(), seconds)
    }

    #[test]
    fn a_lack_of_handles_or_memory_is_waited_out_however_long_it_lasts() {
        for code in SHORTAGE.into_iter().chain([ENOMEM]) {
            assert!(!lasting_alone(code, 86_400), "{code}");
        }
    }

    #[test]
    fn any_other_error_is_permanent_after_a_minute() {
        assert!(!lasting_alone(EINVAL, 60));
        assert!(lasting_alone(EINVAL, 61));
    }

    #[test]
    fn what_came_before_a_lack_of_something_does_not_count() {
        let mut errors = AcceptErrors::default();
        let start = Instant::now();
        let minute = Duration::from_mins(1);
        assert!(!lasting(&mut errors, EINVAL, start, 59));
        assert!(!lasting(&mut errors, SHORTAGE[0], start + minute, 59));
        assert!(!lasting(&mut errors, EINVAL, start + 2 * minute, 60));
    }
}
