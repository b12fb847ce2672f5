//! From one snapshot to the next: wanted names that have changed become unsettled. The cost depends
//! on the size of the change, not of the snapshot.

use std::sync::Arc;

use super::ClientState;
use crate::{
    resource::{Resource, ResourceChange, ResourceSet, Version},
    stream::unsettled::NameState,
};

impl ClientState {
    /// Replaces the newest set. `changes` are the changes since the former set, if they are known.
    /// Returns whether anything that the client wants has changed, or there was no set before.
    pub(in crate::stream) fn rebase(
        &mut self,
        set: &Arc<ResourceSet>,
        changes: Option<&[ResourceChange]>,
    ) -> bool {
        let Some(former) = self.newest.replace(Arc::clone(set)) else {
            self.unsettle_wanted(set);
            return true;
        };
        if former.version() == set.version() {
            return false;
        }
        let names = self.subscription.names().len();
        let named = !self.subscription.is_wildcard();
        match changes {
            Some(changes) if !named || changes.len() <= names => self.unsettle_changes(changes),
            None if !named || set.len() / LOOKUP_COST <= names => {
                self.unsettle_changes(&set.changes_since(&former))
            }
            Some(_) | None => self.unsettle_changed_names(&former, set),
        }
    }

    /// The first set: nothing is known of what the client has.
    fn unsettle_wanted(&mut self, set: &ResourceSet) {
        let mut unsettle = |name: &Arc<str>| {
            self.unsettled.get_or_insert_with(name, NameState::default);
        };
        if self.subscription.is_wildcard() {
            set.iter().map(Resource::name).for_each(&mut unsettle);
        } else {
            let names = self.subscription.names().iter();
            names
                .filter(|name| set.get(name).is_some())
                .for_each(&mut unsettle);
        }
    }

    fn unsettle_changes(&mut self, changes: &[ResourceChange]) -> bool {
        let mut any = false;
        for change in changes {
            let Some(name) = change.name() else {
                continue;
            };
            if self.wants(name) {
                any = true;
                self.unsettle_changed(name, change.before.as_ref());
            }
        }
        any
    }

    fn unsettle_changed_names(&mut self, former: &ResourceSet, set: &ResourceSet) -> bool {
        let version =
            |set: &ResourceSet, name| -> Option<Version> { set.get(name).map(Resource::version) };
        let names = self.subscription.names().iter();
        let changed: Vec<_> = names
            .filter(|name| version(former, name) != version(set, name))
            .cloned()
            .collect();
        for name in &changed {
            self.unsettle_changed(name, former.get(name));
        }
        !changed.is_empty()
    }

    /// If the name was settled, the client has the resource `before` the change.
    fn unsettle_changed(&mut self, name: &Arc<str>, before: Option<&Resource>) {
        let full_state = self.full_state;
        self.unsettled
            .get_or_insert_with(name, || NameState::of(before, full_state));
    }
}

/// Looking up a name twice costs about as much as visiting this many resources.
const LOOKUP_COST: usize = 16;
