use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

/// The pauses between attempts. They grow, and are spread at random: all caches of a fleet lose their
/// control plane at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let longest = (FIRST * (1 << self.attempts.min(MAX_DOUBLINGS))).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let chance = RandomState::new().hash_one(self.attempts) % 1024;
        let chance = u32::try_from(chance).unwrap_or_default();
        longest / 2 + longest / 2 * chance / 1024
    }
}

const FIRST: Duration = Duration::from_millis(200);
const MAX_DOUBLINGS: u32 = 8;
/// As long a sidecar that has started from a cache goes on with it after the control plane is back.
const LONGEST: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_never_short() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        let pauses: Vec<_> = (0..100).map(|_| backoff.next()).collect();
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses[10..].iter().all(|pause| *pause >= LONGEST / 2));
    }
}
