//! Whether a sidecar reaches the server that it was asked to try.

use std::time::Duration;

use pointsman_cutover::ports::Monotonic;

use super::report::ProbeStatistics;

/// The result of a sidecar's last try. One that fails was refused, reset, filtered, or not answered
/// within a second: the sidecar does not tell which.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ProbeResult {
    Reached,
    /// The last try failed, and none before it. A fleet that tries a server all at once overflows its
    /// listen queue now and then.
    FailedOnce,
    /// The last tries failed, two at least.
    NotReached,
}

/// The newest result of one sidecar's tries of one database's probe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probe {
    newest: Option<Tried>,
}

/// What the newest flush with a result says.
#[derive(Clone, Copy, Debug)]
enum Tried {
    Reached(Monotonic),
    /// And when the flush before it said so as well.
    Failed(Monotonic, Option<Monotonic>),
}

impl Probe {
    /// Takes one flush, whose counters say what was tried since the one before.
    pub(super) fn take(&mut self, found: ProbeStatistics, now: Monotonic) {
        let ProbeStatistics {
            endpoints,
            healthy,
            successes,
            failures,
        } = found;
        if endpoints == 0 {
            self.newest = None;
        } else if healthy == endpoints && successes > 0 {
            self.newest = Some(Tried::Reached(now));
        } else if healthy < endpoints && failures > 0 {
            let before = match self.newest {
                Some(Tried::Failed(at, _)) => Some(at),
                Some(Tried::Reached(_)) | None => None,
            };
            self.newest = Some(Tried::Failed(now, before));
        }
        // Otherwise nothing was tried since, or a new endpoint has not been tried yet.
    }

    /// The newest result, if it came after `since` and is not too old.
    pub(super) fn after(&self, since: Monotonic, now: Monotonic) -> Option<ProbeResult> {
        let (result, at) = match self.newest? {
            Tried::Reached(at) => (ProbeResult::Reached, at),
            Tried::Failed(at, Some(before)) if before > since => (ProbeResult::NotReached, at),
            Tried::Failed(at, _) => (ProbeResult::FailedOnce, at),
        };
        (at > since && now.since(at) <= COUNTS_FOR).then_some(result)
    }
}

/// An endpoint that was reached is tried again after 5 s; one result may be lost.
const COUNTS_FOR: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    fn flush(endpoints: u64, healthy: u64, successes: u64, failures: u64) -> ProbeStatistics {
        ProbeStatistics {
            endpoints,
            healthy,
            successes,
            failures,
        }
    }

    #[test]
    fn nothing_is_said_before_a_try_has_ended() {
        let at = |ms| Monotonic::new(Duration::from_millis(ms));
        let start = at(0);
        let mut probe = Probe::default();
        probe.take(flush(1, 0, 0, 0), at(10));
        assert_eq!(probe.after(start, at(10)), None);
        probe.take(flush(1, 1, 1, 0), at(20));
        assert_eq!(probe.after(start, at(25)), Some(ProbeResult::Reached));
        assert_eq!(probe.after(start, at(20_000)), None, "it is too old");
        probe.take(flush(1, 1, 0, 0), at(30));
        let asked = at(25);
        assert_eq!(
            probe.after(asked, at(30)),
            None,
            "tried before it was asked"
        );
        probe.take(flush(1, 0, 0, 1), at(40));
        assert_eq!(probe.after(asked, at(40)), Some(ProbeResult::FailedOnce));
        probe.take(flush(1, 0, 0, 1), at(45));
        assert_eq!(probe.after(asked, at(45)), Some(ProbeResult::NotReached));
        let again = at(42);
        assert_eq!(
            probe.after(again, at(45)),
            Some(ProbeResult::FailedOnce),
            "one of the two was before it was asked"
        );
        probe.take(flush(0, 0, 0, 0), at(50));
        assert_eq!(
            probe.after(start, at(50)),
            None,
            "nothing is tried any more"
        );
    }

    #[test]
    fn one_address_of_several_that_is_not_reached_counts() {
        let at = |ms| Monotonic::new(Duration::from_millis(ms));
        let (start, now) = (at(0), at(2));
        let mut probe = Probe::default();
        probe.take(flush(2, 1, 1, 1), at(1));
        probe.take(flush(2, 1, 1, 1), now);
        assert_eq!(probe.after(start, now), Some(ProbeResult::NotReached));
    }
}
