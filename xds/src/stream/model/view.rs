//! The subscription of one type, as the specification defines it.

use std::collections::BTreeSet;

#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) started: bool,
    pub(super) wildcard: bool,
    pub(super) names: BTreeSet<String>,
    /// State of the world: a name was given once.
    named: bool,
}

/// What a request must be answered with.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) first: bool,
    /// Also if the client has them.
    pub(super) names: BTreeSet<String>,
    /// Everything, also what the client has.
    pub(super) all_again: bool,
    /// An answer, even an empty one.
    pub(super) answer: bool,
    /// State of the world: what was wanted before.
    pub(super) former: BTreeSet<String>,
    pub(super) all_before: bool,
}

impl View {
    pub(super) fn covers(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }

    /// State of the world: everything is wanted, and no name was ever given.
    pub(super) fn is_legacy(&self) -> bool {
        self.wildcard && !self.named
    }

    pub(super) fn delta(&mut self, subscribe: &[String], unsubscribe: &[String]) -> Told {
        let mut told = Told {
            first: !self.started,
            ..Told::default()
        };
        self.started = true;
        if told.first && subscribe.is_empty() {
            self.wildcard = true;
            told.answer = true;
        }
        for name in subscribe {
            if name == "*" {
                self.wildcard = true;
                told.answer = true;
                told.all_again = !told.first;
            } else {
                self.names.insert(name.clone());
                told.names.insert(name.clone());
            }
        }
        let leaves = unsubscribe.iter().any(|name| name == "*");
        if leaves {
            self.wildcard = false;
            told.answer = false;
            told.all_again = false;
        }
        for name in unsubscribe {
            if self.names.remove(name) {
                told.names.remove(name);
                if self.wildcard {
                    told.names.insert(name.clone());
                }
            }
        }
        told
    }

    pub(super) fn sotw(&mut self, names: &[String]) -> Told {
        let first = !self.started;
        self.started = true;
        self.named |= !names.is_empty();
        let former = std::mem::take(&mut self.names);
        let wildcard = std::mem::replace(
            &mut self.wildcard,
            !self.named || names.iter().any(|name| name == "*"),
        );
        self.names = names.iter().filter(|name| *name != "*").cloned().collect();
        let widened = self.wildcard && !wildcard;
        Told {
            first,
            names: self.names.difference(&former).cloned().collect(),
            all_again: widened && !first,
            answer: widened,
            former,
            all_before: wildcard,
        }
    }
}
