//! The names of a type that are not settled: for most clients most of the time none, and one while
//! something changes.

use std::{collections::BTreeMap, sync::Arc};

use crate::resource::{Resource, Version};

/// Entries by name. One alone needs no memory of its own.
#[derive(Debug, Default)]
pub(super) struct Open {
    one: Option<(Arc<str>, Entry)>,
    /// All of them, from the second one on until there is none.
    many: BTreeMap<Arc<str>, Entry>,
}

impl Open {
    pub(super) fn is_empty(&self) -> bool {
        self.one.is_none() && self.many.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        match &self.one {
            Some((only, entry)) => (**only == *name).then_some(entry),
            None => self.many.get(name),
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Entry> {
        match &mut self.one {
            Some((only, entry)) => (**only == *name).then_some(entry),
            None => self.many.get_mut(name),
        }
    }

    pub(super) fn insert(&mut self, name: &Arc<str>, entry: Entry) {
        *self.entry(name, Entry::default) = entry;
    }

    /// The entry of `name`, which is `new` if there was none.
    pub(super) fn entry(&mut self, name: &Arc<str>, new: impl FnOnce() -> Entry) -> &mut Entry {
        if self.many.is_empty() {
            if self.one.as_ref().is_none_or(|(only, _)| only == name) {
                let made = || (Arc::clone(name), new());
                return &mut self.one.get_or_insert_with(made).1;
            }
            self.many.extend(self.one.take());
        }
        self.many.entry(Arc::clone(name)).or_insert_with(new)
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.one.take_if(|(only, _)| **only == *name).is_none() {
            self.many.remove(name);
            if self.many.is_empty() {
                // It may keep its last node.
                self.many.clear();
            }
        }
    }

    pub(super) fn retain(&mut self, mut stays: impl FnMut(&Arc<str>, &mut Entry) -> bool) {
        if let Some((name, entry)) = &mut self.one
            && !stays(name, entry)
        {
            self.one = None;
        }
        if !self.many.is_empty() {
            self.many.retain(stays);
        }
        if self.many.is_empty() {
            // It may keep its last node.
            self.many.clear();
        }
    }

    /// By name, ascending.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut Entry)> {
        let one = self.one.iter_mut().map(|(name, entry)| (&*name, entry));
        one.chain(&mut self.many)
    }

    /// By name, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        let one = self.one.iter().map(|(name, entry)| (name, entry));
        one.chain(&self.many)
    }
}

/// A name that is not settled.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) known: Known,
    /// To be sent, or said to be missing, whatever the client has.
    pub(super) owed: bool,
    pub(super) nack: NackMark,
}

/// What the client has said that it has under a name; moves on an ACK alone.
#[derive(Clone, Debug, Default)]
pub(super) enum Known {
    #[default]
    Nothing,
    /// Something, but not known to be anything of ours.
    Unknown,
    /// The same, and the client has told of it when it came.
    Claimed,
    Version(Version),
    /// Of a type that is always sent full_state: it may have to be sent along once more.
    Resource(Resource),
}

impl Entry {
    /// Of a client that has something, or nothing.
    pub(super) fn unknown() -> Self {
        Self {
            known: Known::Unknown,
            ..Self::default()
        }
    }

    /// Of a client that has `resource`, of a type that is sent `full_state` or not.
    pub(super) fn of(resource: Option<&Resource>, full_state: bool) -> Self {
        let known = resource.map_or(Known::Nothing, |resource| Known::of(resource, full_state));
        Self {
            known,
            ..Self::default()
        }
    }

    pub(super) fn may_be_there(&self) -> bool {
        !matches!(self.known, Known::Nothing)
    }

    /// A refusal holds for the content that was refused, no longer.
    pub(super) fn forget_outdated(&mut self, current: Option<Version>) {
        match self.nack {
            NackMark::None => {}
            NackMark::InBatch(version) | NackMark::Alone(version) => {
                if version != current {
                    self.nack = NackMark::None;
                }
            }
        }
    }
}

impl Known {
    /// `full_state` says whether the type is always sent whole.
    pub(super) fn of(resource: &Resource, full_state: bool) -> Self {
        if full_state {
            Self::Resource(resource.clone())
        } else {
            Self::Version(resource.version())
        }
    }

    pub(super) fn is(&self, version: Version) -> bool {
        match self {
            Self::Nothing | Self::Unknown | Self::Claimed => false,
            Self::Version(known) => *known == version,
            Self::Resource(resource) => resource.version() == version,
        }
    }
}

/// What the client said of content; `None`: of its removal. It holds for that content, no
/// longer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum NackMark {
    #[default]
    None,
    /// Refused beside others. Any of them may have been the cause, and the rest may be in use:
    /// each is sent once more, alone.
    InBatch(Option<Version>),
    /// Refused when it came alone.
    Alone(Option<Version>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(open: &Open) -> Vec<&str> {
        open.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn entries_come_and_go_by_name() {
        let mut open = Open::default();
        for name in ["b", "a", "b", "c"] {
            open.entry(&name.into(), Entry::default);
        }
        assert_eq!(names(&open), ["a", "b", "c"]);
        open.retain(|name, _| **name == *"b");
        assert_eq!(names(&open), ["b"]);
        assert!(open.has("b") && !open.has("a"));
        open.retain(|_, _| false);
        assert!(open.is_empty());
        assert!(open.get_mut("b").is_none());
    }

    #[test]
    fn an_entry_that_is_there_is_kept_and_one_that_is_inserted_replaces_it() {
        for others in [&[][..], &["a", "c"]] {
            let mut open = Open::default();
            let unknown = || Entry {
                known: Known::Unknown,
                ..Entry::default()
            };
            let is_unknown = |entry: &Entry| matches!(entry.known, Known::Unknown);
            open.entry(&"b".into(), unknown);
            for name in others {
                open.insert(&(*name).into(), Entry::default());
            }
            assert!(is_unknown(open.entry(&"b".into(), Entry::default)));
            open.insert(&"b".into(), Entry::default());
            assert!(!is_unknown(open.get_mut("b").unwrap()));
            assert_eq!(open.iter_mut().count(), others.len() + 1);
        }
    }
}
