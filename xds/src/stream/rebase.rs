//! From one snapshot to the next: what was settled and has changed becomes open. This costs what
//! the change costs, however much there is.

use std::sync::Arc;

use super::{open::Entry, substream::Substream};
use crate::resource::{Change, Resource, ResourceSet, Version};

impl Substream {
    /// Takes `set` for the newest content. `changes` are those since the set with the version
    /// that was current here, if somebody has worked them out. Says whether anything changed
    /// that the client wants, or there was nothing before.
    pub(super) fn rebase(&mut self, set: &Arc<ResourceSet>, changes: Option<&[Change]>) -> bool {
        let Some(former) = self.base.replace(Arc::clone(set)) else {
            self.found(set);
            return true;
        };
        if former.version() == set.version() {
            return false;
        }
        let names = self.subscription.names().len();
        let few = !self.subscription.is_wildcard();
        let changed = match changes {
            Some(changes) if !few || changes.len() <= names => self.open_changed(changes),
            None if !few || set.len() / FEW <= names => {
                self.open_changed(&set.changes_since(&former))
            }
            Some(_) | None => self.open_named(&former, set),
        };
        if changed {
            self.reopen();
        }
        changed
    }

    /// The version of what is current here, to find the changes since by.
    pub(super) fn version(&self) -> Option<Version> {
        self.base.as_ref().map(|base| base.version())
    }

    /// The first snapshot: nothing of it is known.
    fn found(&mut self, set: &ResourceSet) {
        let mut open = |name: &Arc<str>| {
            self.open.entry(name, Entry::default);
        };
        if self.subscription.is_wildcard() {
            set.iter().map(Resource::name).for_each(&mut open);
        } else {
            let names = self.subscription.names().iter();
            names
                .filter(|name| set.get(name).is_some())
                .for_each(&mut open);
        }
        self.reopen();
    }

    fn open_changed(&mut self, changes: &[Change]) -> bool {
        let mut any = false;
        for change in changes {
            let Some(name) = change.name() else {
                continue;
            };
            if self.subscription.covers(name) {
                any = true;
                self.open_former(name, change.before.as_ref());
            }
        }
        any
    }

    fn open_named(&mut self, former: &ResourceSet, set: &ResourceSet) -> bool {
        let version = |set: &ResourceSet, name| set.get(name).map(Resource::version);
        let names = self.subscription.names().iter();
        let changed: Vec<_> = names
            .filter(|name| version(former, name) != version(set, name))
            .cloned()
            .collect();
        for name in &changed {
            self.open_former(name, former.get(name));
        }
        !changed.is_empty()
    }

    /// A name that was settled is known to be what it was.
    fn open_former(&mut self, name: &Arc<str>, before: Option<&Resource>) {
        let full_state = self.is_full_state();
        self.open.entry(name, || Entry::of(before, full_state));
    }
}

/// Looking a name up twice costs about as much as passing over so many resources.
const FEW: usize = 16;
