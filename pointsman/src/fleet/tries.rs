//! What somebody asked for and may not have: kept for operators, in a bounded space.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use pointsman_catalog::UnixMillis;
use pointsman_xds::ResourceType;
use tracing::warn;

/// The refused tries since this process began.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_whom: BTreeMap<String, Whom>,
    /// Of all tries; clocks stand still, and go back.
    count: u64,
}

#[derive(Debug, Default)]
struct Whom {
    tries: BTreeMap<String, Try>,
    /// The number of the last one.
    last: u64,
}

/// One thing that somebody tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Try {
    pub(crate) count: u64,
    pub(crate) first: UnixMillis,
    pub(crate) last: UnixMillis,
}

/// One line for operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TryView {
    /// A SPIFFE ID, or the name of an admitted node.
    pub(crate) whom: String,
    pub(crate) words: String,
    pub(crate) of: Try,
}

impl Tries {
    /// An admitted node asked by name for what does not exist for it. Whether it exists for
    /// others is not looked up: the answer takes the same time.
    pub(super) fn asked(&self, node: &str, kind: ResourceType, name: &str) {
        let mut name = name;
        if name.len() > MAX_NAME {
            name = &name[..name.floor_char_boundary(MAX_NAME)];
        }
        self.refused(
            node,
            &format!("it asked for {kind} {name:?}, which does not exist for it"),
        );
    }

    pub(super) fn refused(&self, whom: &str, words: &str) {
        let now = UnixMillis::now();
        let mut kept = self.lock();
        let Kept { by_whom, count } = &mut *kept;
        if !by_whom.contains_key(whom) && by_whom.len() >= MAX_WHOM {
            forget_oldest(by_whom);
        }
        let Whom { tries, last } = by_whom.entry(whom.to_owned()).or_default();
        *count += 1;
        *last = *count;
        let words = if tries.contains_key(words) || tries.len() < MAX_TRIES {
            words
        } else {
            MORE
        };
        let mut is_new = false;
        let found = tries.entry(words.to_owned()).or_insert_with(|| {
            is_new = true;
            Try {
                count: 0,
                first: now,
                last: now,
            }
        });
        found.count += 1;
        found.last = now;
        drop(kept);
        if is_new {
            warn!(whom, "refused: {words}");
        }
    }

    /// All that are kept, by whom.
    pub(crate) fn list(&self) -> Vec<TryView> {
        let kept = self.lock();
        kept.by_whom
            .iter()
            .flat_map(|(whom, of)| {
                of.tries.iter().map(|(words, of)| TryView {
                    whom: whom.clone(),
                    words: words.clone(),
                    of: of.clone(),
                })
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(by_whom: &mut BTreeMap<String, Whom>) {
    let oldest = by_whom
        .iter()
        .min_by_key(|(_, of)| of.last)
        .map(|(whom, _)| whom.clone());
    if let Some(oldest) = oldest {
        by_whom.remove(&oldest);
    }
}

/// Those who try, kept at once.
const MAX_WHOM: usize = 256;
/// Different things that one tries, kept each with its name.
const MAX_TRIES: usize = 16;
/// In bytes, of a name that is kept.
const MAX_NAME: usize = 128;
const MORE: &str = "it asked for more than is kept here";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_try_is_one_line_with_a_count() {
        let tries = Tries::default();
        for _ in 0..3 {
            tries.asked("app-1", ResourceType::Cluster, "writer.billing");
        }
        let list = tries.list();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].whom.as_str(), list[0].of.count), ("app-1", 3));
        assert!(list[0].words.contains("\"writer.billing\""), "{list:?}");
    }

    #[test]
    fn whoever_tries_without_end_fills_nothing() {
        let tries = Tries::default();
        for number in 0..10_000 {
            tries.asked("app-1", ResourceType::Endpoints, &number.to_string());
            tries.refused(
                &format!("spiffe://example.org/{number}"),
                "nobody registered it",
            );
        }
        let list = tries.list();
        assert!(list.len() <= MAX_WHOM + MAX_TRIES + 1, "{}", list.len());
        let more: u64 = list
            .iter()
            .filter(|line| line.words == MORE)
            .map(|line| line.of.count)
            .sum();
        assert_eq!(more, 10_000 - 16);
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let tries = Tries::default();
        tries.asked("app-1", ResourceType::Cluster, &"é".repeat(10_000));
        assert!(tries.list()[0].words.len() < 2 * MAX_NAME + 100);
    }
}
