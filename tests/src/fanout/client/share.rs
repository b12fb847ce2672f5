//! Which streams are whose: they are dealt out in turns, so that every worker has some of the
//! first and some of the last.

/// The streams of one worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share(usize);

impl Share {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..WORKERS).map(Self)
    }

    /// How many of the first `count` streams it has.
    pub(super) fn of(self, count: usize) -> usize {
        (count + WORKERS - 1 - self.0) / WORKERS
    }

    /// The number of its stream at this place.
    pub(super) fn number(self, place: usize) -> usize {
        place * WORKERS + self.0
    }
}

/// One thread alone would be busier than the servers.
const WORKERS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_somebodys() {
        for count in 0..10 {
            let numbers = |share: Share| (0..share.of(count)).map(move |at| share.number(at));
            let mut all: Vec<_> = Share::all().flat_map(numbers).collect();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..count));
        }
    }
}
