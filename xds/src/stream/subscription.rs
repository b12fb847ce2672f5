//! The names of one type that a client wants, and how a request changes them.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return>

use std::{cmp::Ordering, collections::BTreeSet, sync::Arc};

use smallvec::SmallVec;

use crate::resource::{ResourceSet, WILDCARD};

/// The names of one type that a client wants.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// Sorted, each once. Many clients have one.
    names: SmallVec<[Arc<str>; 1]>,
    wildcard: bool,
    /// State of the world: a name, or `*`, was given at some time. From then on an empty list means
    /// "nothing".
    named: bool,
    /// Size of all names, in bytes.
    size: u32,
}

/// How a request changed a subscription.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct SubscriptionChange {
    /// Names that must be answered, also if the client has them.
    pub(super) asked: Vec<Asked>,
    /// The wildcard was asked for. It needs an answer, even an empty one.
    pub(super) asked_all: bool,
    /// The wildcard is subscribed now and was not before.
    pub(super) widened: bool,
    /// The wildcard was unsubscribed.
    pub(super) narrowed: bool,
    /// Names that are no longer wanted.
    pub(super) gone: Vec<Arc<str>>,
}

#[derive(Debug, Eq, PartialEq)]
pub(super) struct Asked {
    pub(super) name: Arc<str>,
    /// Whether neither the name nor the wildcard was subscribed before.
    pub(super) new: bool,
}

impl SubscriptionChange {
    /// State of the world: a name is no longer listed. If the wildcard is new, it asks for the name
    /// again.
    fn lose(&mut self, name: Arc<str>) {
        if self.widened {
            self.asked.push(Asked { name, new: false });
        } else {
            self.gone.push(name);
        }
    }

    /// Whether anything was unsubscribed.
    pub(super) fn drops(&self) -> bool {
        self.narrowed || !self.gone.is_empty()
    }

    /// Whether its cost depends on the number of resources instead of the size of the request.
    pub(super) fn is_wide(&self) -> bool {
        self.asked_all || self.widened || self.narrowed
    }
}

impl Subscription {
    /// Delta. Names are subscribed before others are unsubscribed, so a name in both lists is
    /// unsubscribed. `all` tells that a request without names is a wildcard. Names are shared with the
    /// resources of `set`.
    pub(super) fn change(
        &mut self,
        all: bool,
        subscribe: &[String],
        unsubscribe: &[String],
        set: Option<&ResourceSet>,
    ) -> SubscriptionChange {
        let former = self.wildcard;
        let star = |names: &[String]| names.iter().any(|name| name == WILDCARD);
        let asked_all = (all && subscribe.is_empty()) || star(subscribe);
        let left = star(unsubscribe);
        self.wildcard = (former || asked_all) && !left;
        let mut change = SubscriptionChange {
            asked_all: asked_all && !left,
            widened: self.wildcard && !former,
            narrowed: former && left,
            ..SubscriptionChange::default()
        };
        self.subscribe(subscribe, former, set, &mut change);
        self.unsubscribe(unsubscribe, &mut change);
        change
    }

    /// State of the world: `names` replaces what was wanted before. `all` tells that an empty list is a
    /// wildcard as long as no name was ever given.
    pub(super) fn replace(
        &mut self,
        first: bool,
        all: bool,
        names: &[String],
        set: Option<&ResourceSet>,
    ) -> SubscriptionChange {
        let former = self.wildcard;
        self.named |= !names.is_empty();
        let star = names.iter().any(|name| name == WILDCARD);
        self.wildcard = if self.named { star } else { all };
        let mut change = SubscriptionChange {
            asked_all: self.wildcard && (first || !former),
            widened: self.wildcard && !former,
            narrowed: former && !self.wildcard,
            ..SubscriptionChange::default()
        };
        let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
        wanted.retain(|name| *name != WILDCARD);
        wanted.sort_unstable();
        wanted.dedup();
        if wanted
            .iter()
            .copied()
            .eq(self.names.iter().map(AsRef::as_ref))
        {
            return change;
        }
        let mut before = std::mem::take(&mut self.names).into_iter().peekable();
        for name in wanted {
            while let Some(had) = before.next_if(|had| **had < *name) {
                change.lose(had);
            }
            let had = before.next_if(|had| **had == *name);
            let kept = had.unwrap_or_else(|| {
                let asked = shared(name, set);
                change.asked.push(Asked {
                    name: Arc::clone(&asked),
                    new: !former,
                });
                asked
            });
            self.names.push(kept);
        }
        before.for_each(|had| change.lose(had));
        self.size = self.names.iter().map(size).sum();
        change
    }

    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.position(name).is_ok()
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    pub(super) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    /// Of all names, in bytes.
    pub(super) fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    fn subscribe(
        &mut self,
        subscribe: &[String],
        wildcard: bool,
        set: Option<&ResourceSet>,
        change: &mut SubscriptionChange,
    ) {
        let mut wanted: Vec<&str> = subscribe.iter().map(String::as_str).collect();
        wanted.retain(|name| *name != WILDCARD);
        wanted.sort_unstable();
        wanted.dedup();
        let mut added = Vec::new();
        for name in wanted {
            let had = self.position(name).map(|at| Arc::clone(&self.names[at]));
            let new = !wildcard && had.is_err();
            let name = had.unwrap_or_else(|_| {
                added.push(shared(name, set));
                Arc::clone(&added[added.len() - 1])
            });
            change.asked.push(Asked { name, new });
        }
        self.size += added.iter().map(size).sum::<u32>();
        if added.len() <= FEW {
            for name in added {
                let at = self.position(&name).unwrap_or_else(|at| at);
                self.names.insert(at, name);
            }
            return;
        }
        self.names.reserve_exact(added.len());
        self.names.extend(added);
        // Two sorted runs, which the sort merges.
        self.names.sort();
    }

    fn unsubscribe(&mut self, unsubscribe: &[String], change: &mut SubscriptionChange) {
        let unwanted: BTreeSet<&str> = unsubscribe.iter().map(String::as_str).collect();
        let gone: Vec<_> = unwanted
            .iter()
            .filter_map(|name| self.position(name).ok())
            .collect();
        if gone.is_empty() {
            return;
        }
        let mut new = BTreeSet::new();
        change.asked.retain(|asked| {
            let stays = !unwanted.contains(&*asked.name);
            if asked.new && !stays {
                new.insert(Arc::clone(&asked.name));
            }
            stays
        });
        for name in self.take(&gone) {
            self.size -= size(&name);
            if self.wildcard {
                // The client does not know whether the wildcard covers the name, so it is answered.
                let new = new.contains(&name);
                change.asked.push(Asked { name, new });
            } else {
                change.gone.push(name);
            }
        }
    }

    /// Removes the names at these indexes, which ascend.
    fn take(&mut self, places: &[usize]) -> Vec<Arc<str>> {
        let mut taken: Vec<_>;
        if places.len() <= FEW {
            let places = places.iter().rev();
            taken = places.map(|at| self.names.remove(*at)).collect();
            taken.reverse();
        } else {
            let mut places = places.iter().peekable();
            let all = std::mem::take(&mut self.names).into_iter().enumerate();
            let (gone, kept): (Vec<_>, Vec<_>) =
                all.partition(|(at, _)| places.next_if(|place| *place == at).is_some());
            taken = gone.into_iter().map(|(_, name)| name).collect();
            self.names = kept.into_iter().map(|(_, name)| name).collect();
        }
        if self.names.len() < self.names.capacity() / 2 {
            self.names.shrink_to_fit();
        }
        taken
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.names
            .binary_search_by(|have| -> Ordering { (**have).cmp(name) })
    }
}

/// The size of a name in bytes. The limit of a request is far below the maximum.
fn size(name: &Arc<str>) -> u32 {
    u32::try_from(name.len()).unwrap_or(u32::MAX)
}

/// Up to this number, names are inserted and removed one by one, which is cheaper than merging.
const FEW: usize = 8;

/// The name, shared with its resource if that exists.
fn shared(name: &str, set: Option<&ResourceSet>) -> Arc<str> {
    let resource = set.and_then(|set| set.get(name));
    resource.map_or_else(|| name.into(), |resource| Arc::clone(resource.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn delta(first: &[&str], later: &[(&[&str], &[&str])]) -> Subscription {
        let mut subscription = Subscription::default();
        subscription.change(true, &list(first), &[], None);
        for (subscribe, unsubscribe) in later {
            subscription.change(false, &list(subscribe), &list(unsubscribe), None);
        }
        subscription
    }

    #[test]
    fn x24_an_empty_first_request_and_a_star_at_any_time_are_wildcards() {
        assert!(delta(&[], &[]).is_wildcard());
        assert!(delta(&["a"], &[(&["*"], &[])]).is_wildcard());
        assert!(!delta(&["a"], &[(&[], &[])]).is_wildcard());
    }

    #[test]
    fn x26_from_the_wildcard_down_to_a_name_down_to_nothing() {
        let both = delta(&[], &[(&["a"], &[])]);
        assert!(both.covers("b"));
        let named = delta(&[], &[(&["a"], &[]), (&[], &["*"])]);
        assert!(named.covers("a") && !named.covers("b"));
        let nothing = delta(&[], &[(&["a"], &[]), (&[], &["*"]), (&[], &["a"])]);
        assert!(!nothing.covers("a") && !nothing.is_wildcard());
    }

    #[test]
    fn t03_a_name_in_both_lists_ends_unsubscribed() {
        let mut subscription = delta(&["b"], &[]);
        let change = subscription.change(false, &list(&["a"]), &list(&["a"]), None);
        assert!(!subscription.covers("a"));
        assert!(change.asked.is_empty());
    }

    #[test]
    fn t03_a_star_in_both_lists_subscribes_to_nothing() {
        let mut subscription = Subscription::default();
        let change = subscription.change(true, &list(&["*"]), &list(&["*"]), None);
        assert!(!subscription.covers("a"));
        assert!(!change.asked_all);
    }

    #[test]
    fn x29_unsubscribing_what_was_not_subscribed_changes_nothing() {
        let mut subscription = delta(&[], &[]);
        let change = subscription.change(false, &[], &list(&["a"]), None);
        assert_eq!(change, SubscriptionChange::default());
    }

    #[test]
    fn x18_x19_an_empty_list_is_the_wildcard_until_a_name_was_given() {
        let mut subscription = Subscription::default();
        assert!(subscription.replace(true, true, &[], None).asked_all);
        subscription.replace(false, true, &[], None);
        assert!(subscription.is_wildcard());
        subscription.replace(false, true, &list(&["*"]), None);
        let change = subscription.replace(false, true, &[], None);
        assert!(!subscription.is_wildcard());
        assert!(change.narrowed);
    }

    #[test]
    fn x20_the_wildcard_can_be_left_for_a_name() {
        let mut subscription = Subscription::default();
        subscription.replace(true, true, &list(&["*", "a"]), None);
        let change = subscription.replace(false, true, &list(&["a"]), None);
        assert!(subscription.covers("a") && !subscription.covers("b"));
        assert!(change.asked.is_empty() && change.drops());
    }

    #[test]
    fn x21_dropping_a_name_asks_for_nothing() {
        let mut subscription = Subscription::default();
        subscription.replace(true, true, &list(&["a", "b"]), None);
        let change = subscription.replace(false, true, &list(&["b"]), None);
        assert!(change.asked.is_empty() && change.drops() && !change.asked_all);
    }
}
