//! The unsettled names of one type: those for which the client is not known to have the newest
//! content. Most clients have none most of the time, and one while something changes.

use std::{collections::BTreeMap, sync::Arc};

use crate::resource::{Resource, Version};

/// The unsettled names and their states. A single name needs no allocation for the map.
#[derive(Debug, Default)]
pub(super) struct UnsettledNames {
    one: Option<(Arc<str>, NameState)>,
    /// Used from the second name on, until no name is left.
    many: BTreeMap<Arc<str>, NameState>,
}

impl UnsettledNames {
    pub(super) fn is_empty(&self) -> bool {
        self.one.is_none() && self.many.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&NameState> {
        match &self.one {
            Some((only, state)) => (**only == *name).then_some(state),
            None => self.many.get(name),
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut NameState> {
        match &mut self.one {
            Some((only, state)) => (**only == *name).then_some(state),
            None => self.many.get_mut(name),
        }
    }

    pub(super) fn insert(&mut self, name: &Arc<str>, state: NameState) {
        *self.get_or_insert_with(name, NameState::default) = state;
    }

    /// The state of `name`; `new` creates it if the name was settled.
    pub(super) fn get_or_insert_with(
        &mut self,
        name: &Arc<str>,
        new: impl FnOnce() -> NameState,
    ) -> &mut NameState {
        if self.many.is_empty() {
            if self.one.as_ref().is_none_or(|(only, _)| only == name) {
                let created = || (Arc::clone(name), new());
                return &mut self.one.get_or_insert_with(created).1;
            }
            self.many.extend(self.one.take());
        }
        self.many.entry(Arc::clone(name)).or_insert_with(new)
    }

    pub(super) fn remove(&mut self, name: &str) {
        if self.one.take_if(|(only, _)| **only == *name).is_none() {
            self.many.remove(name);
            if self.many.is_empty() {
                // An empty map may keep its last node.
                self.many.clear();
            }
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Arc<str>, &mut NameState) -> bool) {
        if let Some((name, state)) = &mut self.one
            && !keep(name, state)
        {
            self.one = None;
        }
        if !self.many.is_empty() {
            self.many.retain(keep);
        }
        if self.many.is_empty() {
            // An empty map may keep its last node.
            self.many.clear();
        }
    }

    /// By name, ascending.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut NameState)> {
        let one = self.one.iter_mut().map(|(name, state)| (&*name, state));
        one.chain(&mut self.many)
    }

    /// By name, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &NameState)> {
        let one = self.one.iter().map(|(name, state)| (name, state));
        one.chain(&self.many)
    }
}

/// The state of an unsettled name.
#[derive(Clone, Debug, Default)]
pub(super) struct NameState {
    pub(super) known: Known,
    /// The client must be sent the resource, or that it does not exist, also if it has that already.
    pub(super) owed: bool,
    pub(super) nack: NackMark,
}

/// What the client is known to have under a name. Only an ACK makes it a known resource.
#[derive(Clone, Debug, Default)]
pub(super) enum Known {
    #[default]
    Nothing,
    /// It may have any content, or none.
    Unknown,
    /// It may have any content, or none. It claimed in its first request that it has some.
    Claimed,
    Version(Version),
    /// Of a type whose responses carry the full state: the resource may have to be sent again.
    Resource(Resource),
}

impl NameState {
    pub(super) fn unknown() -> Self {
        Self {
            known: Known::Unknown,
            ..Self::default()
        }
    }

    /// The client has `resource`. `full_state` says whether responses of the type carry the full
    /// state.
    pub(super) fn of(resource: Option<&Resource>, full_state: bool) -> Self {
        let known = resource.map_or(Known::Nothing, |resource| Known::of(resource, full_state));
        Self {
            known,
            ..Self::default()
        }
    }

    /// Whether the client may have something under the name.
    pub(super) fn may_exist(&self) -> bool {
        !matches!(self.known, Known::Nothing)
    }

    /// Drops a NACK of other content than the current one.
    pub(super) fn forget_outdated_nack(&mut self, current: Option<Version>) {
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
    /// `full_state` says whether responses of the type carry the full state.
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

/// Whether the client NACKed a version of the resource or, with `None`, its removal. The mark is
/// dropped when the content changes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum NackMark {
    #[default]
    None,
    /// NACKed in a response with several resources. Any of them may be the cause, and the client may
    /// use the others. Each is sent again alone.
    InBatch(Option<Version>),
    /// NACKed when it was sent alone.
    Alone(Option<Version>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &UnsettledNames) -> Vec<&str> {
        names.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn names_are_inserted_once_and_retained_by_name() {
        let mut names = UnsettledNames::default();
        for name in ["b", "a", "b", "c"] {
            names.get_or_insert_with(&name.into(), NameState::default);
        }
        assert_eq!(list(&names), ["a", "b", "c"]);
        names.retain(|name, _| **name == *"b");
        assert_eq!(list(&names), ["b"]);
        assert!(names.get("b").is_some() && names.get("a").is_none());
        names.retain(|_, _| false);
        assert!(names.is_empty());
        assert!(names.get_mut("b").is_none());
    }

    #[test]
    fn get_or_insert_keeps_a_state_and_insert_replaces_it() {
        for others in [&[][..], &["a", "c"]] {
            let mut names = UnsettledNames::default();
            let unknown = || NameState {
                known: Known::Unknown,
                ..NameState::default()
            };
            let is_unknown = |state: &NameState| matches!(state.known, Known::Unknown);
            names.get_or_insert_with(&"b".into(), unknown);
            for name in others {
                names.insert(&(*name).into(), NameState::default());
            }
            assert!(is_unknown(
                names.get_or_insert_with(&"b".into(), NameState::default)
            ));
            names.insert(&"b".into(), NameState::default());
            assert!(!is_unknown(names.get_mut("b").unwrap()));
            assert_eq!(names.iter_mut().count(), others.len() + 1);
        }
    }
}
