//! Which keys the last commits wrote, so that a follower reads only those again.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::store::{Key, Revision};

/// The keys of the last commits of this process, up to [`MAX_KEYS`] of them.
#[derive(Debug)]
pub(super) struct ChangeLog {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Every commit after this revision is in `commits`.
    complete_after: Revision,
    commits: VecDeque<(Revision, Vec<Key>)>,
    /// How many keys `commits` have in all.
    keys: usize,
}

impl ChangeLog {
    /// An empty log of a store that is at `revision`.
    pub(super) fn new(revision: Revision) -> Self {
        Self {
            kept: Mutex::new(Kept {
                complete_after: revision,
                commits: VecDeque::new(),
                keys: 0,
            }),
        }
    }

    /// Records the keys of a commit. It must be recorded before anybody can read what it wrote:
    /// a reader at `revision` relies on finding it here. A commit that fails afterwards does no
    /// harm: its keys are read once more.
    pub(super) fn record(&self, revision: Revision, keys: Vec<Key>) {
        let mut kept = self.lock();
        kept.keys += keys.len();
        kept.commits.push_back((revision, keys));
        while kept.keys > MAX_KEYS {
            let Some((revision, keys)) = kept.commits.pop_front() else {
                break;
            };
            kept.complete_after = revision;
            kept.keys -= keys.len();
        }
    }

    /// The keys written after `after`, up to `last`; `None` if the log does not reach back so
    /// far.
    pub(super) fn written(&self, after: Revision, last: Revision) -> Option<BTreeSet<Key>> {
        let kept = self.lock();
        if after < kept.complete_after {
            return None;
        }
        let commits = kept.commits.iter();
        let commits = commits.filter(|(revision, _)| after < *revision && *revision <= last);
        Some(commits.flat_map(|(_, keys)| keys).cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than a follower falls behind by; reading everything costs no more than reading so many.
const MAX_KEYS: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<Key> {
        names.iter().copied().map(Key::new).collect()
    }

    #[test]
    fn a_log_tells_the_keys_of_the_commits_between_two_revisions() {
        let log = ChangeLog::new(Revision(4));
        log.record(Revision(5), keys(&["a"]));
        log.record(Revision(6), keys(&["b", "a"]));
        log.record(Revision(7), keys(&["c"]));
        let written = |after, last| log.written(Revision(after), Revision(last));
        assert_eq!(
            written(4, 7),
            Some(keys(&["a", "b", "c"]).into_iter().collect())
        );
        assert_eq!(written(5, 6), Some(keys(&["a", "b"]).into_iter().collect()));
        assert_eq!(written(7, 7), Some(BTreeSet::new()));
        assert_eq!(written(3, 7), None, "it began at 4");
    }

    #[test]
    fn a_full_log_forgets_its_oldest_commits_and_says_so() {
        let log = ChangeLog::new(Revision(0));
        let many: Vec<_> = (0..MAX_KEYS).map(|n| Key::new(n.to_string())).collect();
        log.record(Revision(1), keys(&["a"]));
        log.record(Revision(2), many);
        assert_eq!(log.written(Revision(0), Revision(2)), None);
        let kept = log.written(Revision(1), Revision(2)).unwrap();
        assert_eq!(kept.len(), MAX_KEYS);
    }
}
