use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pointsman_catalog::UnixMillis;
use pointsman_cutover::ports::Clock;
use pointsman_xds::ResourceType;
use tracing::warn;

/// What principals asked for and were denied since this process began, for operators. The number
/// of entries is bounded.
#[derive(Debug)]
pub(crate) struct AccessDenials {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    principals: BTreeMap<String, Principal>,
    /// Counts all denials. It orders them: a wall clock can stand still and go back.
    count: u64,
}

/// The denials of one principal.
#[derive(Debug, Default)]
struct Principal {
    by_reason: BTreeMap<String, Occurrences>,
    /// The number of the last one.
    last: u64,
}

/// How often the same was denied, and when.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Occurrences {
    pub(crate) count: u64,
    pub(crate) first: UnixMillis,
    pub(crate) last: UnixMillis,
}

/// One line for operators.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct AccessDenial {
    /// A SPIFFE ID, or the name of an admitted node.
    pub(crate) principal: String,
    pub(crate) reason: String,
    pub(crate) occurrences: Occurrences,
}

impl AccessDenials {
    /// Nothing was denied yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    /// An admitted node asked by name for a resource that does not exist for it. Whether it exists
    /// for others is not looked up, so that the time of the answer tells nothing.
    pub(super) fn missing_resource(&self, node: &str, kind: ResourceType, name: &str) {
        let mut name = name;
        if name.len() > MAX_NAME {
            name = &name[..name.floor_char_boundary(MAX_NAME)];
        }
        self.deny(
            node,
            &format!("it asked for {kind} {name:?}, which does not exist for it"),
        );
    }

    pub(super) fn deny(&self, principal: &str, reason: &str) {
        let now = self.clock.now();
        let mut kept = self.lock();
        let Kept { principals, count } = &mut *kept;
        if !principals.contains_key(principal) && principals.len() >= MAX_PRINCIPALS {
            forget_oldest(principals);
        }
        let Principal { by_reason, last } = principals.entry(principal.to_owned()).or_default();
        *count += 1;
        *last = *count;
        let reason = if by_reason.contains_key(reason) || by_reason.len() < MAX_REASONS {
            reason
        } else {
            MORE
        };
        let mut is_new = false;
        let found = by_reason.entry(reason.to_owned()).or_insert_with(|| {
            is_new = true;
            Occurrences {
                count: 0,
                first: now,
                last: now,
            }
        });
        found.count += 1;
        found.last = now;
        drop(kept);
        if is_new {
            warn!(principal, "access denied: {reason}");
        }
    }

    /// All that are kept, by principal.
    pub(crate) fn list(&self) -> Vec<AccessDenial> {
        let kept = self.lock();
        let principals = kept.principals.iter();
        principals
            .flat_map(|(principal, denied)| {
                let reasons = denied.by_reason.iter();
                reasons.map(|(reason, occurrences)| AccessDenial {
                    principal: principal.clone(),
                    reason: reason.clone(),
                    occurrences: occurrences.clone(),
                })
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(principals: &mut BTreeMap<String, Principal>) {
    let oldest = principals
        .iter()
        .min_by_key(|(_, denied)| denied.last)
        .map(|(principal, _)| principal.clone());
    if let Some(oldest) = oldest {
        principals.remove(&oldest);
    }
}

/// Principals that are kept at once.
const MAX_PRINCIPALS: usize = 256;
/// Different reasons that are kept of one principal, each with its text.
const MAX_REASONS: usize = 16;
/// The maximal length of a name that is kept, in bytes.
const MAX_NAME: usize = 128;
const MORE: &str = "it asked for more than is kept here";

#[cfg(test)]
mod tests {
    use pointsman_cutover::ports::ManualClock;

    use super::*;

    fn denials() -> AccessDenials {
        AccessDenials::new(Arc::new(ManualClock::at(UnixMillis(1_000))))
    }

    #[test]
    fn a_denial_has_the_times_of_the_clock_that_it_was_given() {
        let clock = ManualClock::at(UnixMillis(1_000));
        let denials = AccessDenials::new(Arc::new(clock.clone()));
        denials.deny("app-1", "nobody registered it");
        clock.advance(std::time::Duration::from_secs(2));
        denials.deny("app-1", "nobody registered it");
        let expected = Occurrences {
            count: 2,
            first: UnixMillis(1_000),
            last: UnixMillis(3_000),
        };
        assert_eq!(denials.list()[0].occurrences, expected);
    }

    #[test]
    fn the_same_denial_is_one_line_with_a_count() {
        let denials = denials();
        for _ in 0..3 {
            denials.missing_resource("app-1", ResourceType::Cluster, "writer.billing");
        }
        let list = denials.list();
        assert_eq!(list.len(), 1);
        assert_eq!(
            (list[0].principal.as_str(), list[0].occurrences.count),
            ("app-1", 3)
        );
        assert!(list[0].reason.contains("\"writer.billing\""), "{list:?}");
    }

    #[test]
    fn whoever_asks_without_end_fills_nothing() {
        let denials = denials();
        for number in 0..10_000 {
            denials.missing_resource("app-1", ResourceType::Endpoints, &number.to_string());
            denials.deny(
                &format!("spiffe://example.org/{number}"),
                "nobody registered it",
            );
        }
        let list = denials.list();
        assert!(
            list.len() <= MAX_PRINCIPALS + MAX_REASONS + 1,
            "{}",
            list.len()
        );
        let more: u64 = list
            .iter()
            .filter(|line| line.reason == MORE)
            .map(|line| line.occurrences.count)
            .sum();
        assert_eq!(more, 10_000 - 16);
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        let denials = denials();
        denials.missing_resource("app-1", ResourceType::Cluster, &"é".repeat(10_000));
        assert!(denials.list()[0].reason.len() < 2 * MAX_NAME + 100);
    }
}
