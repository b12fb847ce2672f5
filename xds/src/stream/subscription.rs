//! Which names a client wants of one type, and what a request changes about it.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return>

use std::{collections::BTreeSet, sync::Arc};

use crate::resource::WILDCARD;

/// The names of one type that a client wants.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// State of the world: a name was given at some time, `*` included, so that an empty list
    /// means "nothing" from then on.
    named: bool,
}

/// What a request changed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Change {
    /// Names that must be answered whatever the client has.
    pub(super) asked: Vec<Arc<str>>,
    /// The wildcard was asked for, and needs an answer even if that is empty.
    pub(super) asked_all: bool,
    /// Something is no longer wanted.
    pub(super) dropped: bool,
}

impl Subscription {
    /// Delta. Subscribing comes before unsubscribing, so a name in both lists ends
    /// unsubscribed.
    pub(super) fn change(
        &mut self,
        first: bool,
        subscribe: &[String],
        unsubscribe: &[String],
    ) -> Change {
        let mut change = Change::default();
        if first && subscribe.is_empty() {
            self.wildcard = true;
            change.asked_all = true;
        }
        for name in subscribe {
            if name == WILDCARD {
                self.wildcard = true;
                change.asked_all = true;
            } else {
                change.asked.push(self.add(name));
            }
        }
        for name in unsubscribe {
            if name == WILDCARD {
                change.dropped |= std::mem::take(&mut self.wildcard);
                change.asked_all = false;
            } else if let Some(name) = self.names.take(name.as_str()) {
                change.asked.retain(|asked| *asked != name);
                if self.wildcard {
                    // Whether the wildcard covers the name, only the server knows: it says so.
                    change.asked.push(name);
                } else {
                    change.dropped = true;
                }
            }
        }
        change
    }

    /// State of the world: `names` replaces what was wanted before.
    pub(super) fn replace(&mut self, first: bool, names: &[String]) -> Change {
        self.named |= !names.is_empty();
        let wildcard = if self.named {
            names.iter().any(|name| name == WILDCARD)
        } else {
            true
        };
        let mut change = Change {
            asked_all: wildcard && (first || !self.wildcard),
            dropped: self.wildcard && !wildcard,
            ..Change::default()
        };
        self.wildcard = wildcard;
        let mut former = std::mem::take(&mut self.names);
        for name in names.iter().filter(|name| *name != WILDCARD) {
            if let Some(name) = former.take(name.as_str()) {
                self.names.insert(name);
            } else if !self.names.contains(name.as_str()) {
                change.asked.push(self.add(name));
            }
        }
        change.dropped |= !former.is_empty();
        change
    }

    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    pub(super) fn is_wildcard(&self) -> bool {
        self.wildcard
    }

    pub(super) fn names(&self) -> &BTreeSet<Arc<str>> {
        &self.names
    }

    fn add(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name = Arc::<str>::from(name);
        self.names.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn delta(first: &[&str], later: &[(&[&str], &[&str])]) -> Subscription {
        let mut subscription = Subscription::default();
        subscription.change(true, &list(first), &[]);
        for (subscribe, unsubscribe) in later {
            subscription.change(false, &list(subscribe), &list(unsubscribe));
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
        let change = subscription.change(false, &list(&["a"]), &list(&["a"]));
        assert!(!subscription.covers("a"));
        assert!(change.asked.is_empty());
    }

    #[test]
    fn t03_a_star_in_both_lists_subscribes_to_nothing() {
        let mut subscription = Subscription::default();
        let change = subscription.change(true, &list(&["*"]), &list(&["*"]));
        assert!(!subscription.covers("a"));
        assert!(!change.asked_all);
    }

    #[test]
    fn x29_unsubscribing_what_was_not_subscribed_changes_nothing() {
        let mut subscription = delta(&[], &[]);
        let change = subscription.change(false, &[], &list(&["a"]));
        assert_eq!(change, Change::default());
    }

    #[test]
    fn x18_x19_an_empty_list_is_the_wildcard_until_a_name_was_given() {
        let mut subscription = Subscription::default();
        assert!(subscription.replace(true, &[]).asked_all);
        subscription.replace(false, &[]);
        assert!(subscription.is_wildcard());
        subscription.replace(false, &list(&["*"]));
        let change = subscription.replace(false, &[]);
        assert!(!subscription.is_wildcard());
        assert!(change.dropped);
    }

    #[test]
    fn x20_the_wildcard_can_be_left_for_a_name() {
        let mut subscription = Subscription::default();
        subscription.replace(true, &list(&["*", "a"]));
        let change = subscription.replace(false, &list(&["a"]));
        assert!(subscription.covers("a") && !subscription.covers("b"));
        assert!(change.asked.is_empty() && change.dropped);
    }

    #[test]
    fn x21_dropping_a_name_asks_for_nothing() {
        let mut subscription = Subscription::default();
        subscription.replace(true, &list(&["a", "b"]));
        let change = subscription.replace(false, &list(&["b"]));
        assert!(change.asked.is_empty() && change.dropped && !change.asked_all);
    }
}
