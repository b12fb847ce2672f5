//! State of the world, types that are always sent whole: a response holds everything that is subscribed,
//! and what is absent is deleted. What is to be deleted is therefore sent along for as long as
//! other types may refer to it.

use std::sync::Arc;

use super::{
    difference::Taken,
    open::{Known, Open},
    order::Phase,
    substream::{Outgoing, Substream},
};
use crate::resource::{Resource, version_of};

/// How what the client has differs from what it must have.
#[derive(Debug, Default)]
struct Difference {
    /// Something must be sent that it does not have.
    changes: bool,
    /// What it has and must lose.
    departing: Vec<Resource>,
}

impl Substream {
    pub(super) fn take_full_state(&mut self, phase: Phase, open: bool) -> Taken {
        self.recognise();
        let Difference { changes, departing } = self.full_state_difference();
        self.answer_owed |= !changes && self.is_unproven();
        let due = match phase {
            Phase::Upsert => changes || (self.answer_owed && departing.is_empty()),
            Phase::Both => changes || !departing.is_empty() || self.answer_owed,
            // Changes that are still due here were refused; they do not go out as removals.
            Phase::Remove => !departing.is_empty() && !changes,
        };
        if !due {
            return Taken::Nothing;
        }
        let mut resources = self.wanted();
        if phase == Phase::Upsert && !departing.is_empty() {
            resources.extend(departing);
            resources.sort_by(|a, b| a.name().cmp(b.name()));
        }
        let version = version_of(&resources);
        if self.nacked_full_state == Some(version) && !self.answer_owed {
            return Taken::Nothing;
        }
        if !open {
            return Taken::Blocked;
        }
        let changed = resources
            .iter()
            .filter(|resource| self.is_changed(resource.name()));
        let outgoing = Outgoing {
            changed: Some(changed.cloned().collect()),
            resources,
            ..Outgoing::default()
        };
        Taken::Send { outgoing, version }
    }

    /// A client that comes back and subscribes to everything has what it says, if that is the
    /// version of all there is. Of a client that names its resources the version tells nothing:
    /// it may name others than before.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-and-resource-type-instance-version>
    fn recognise(&mut self) {
        let claimed = self.claimed.take();
        if claimed.is_some()
            && claimed.as_deref() == self.version().as_ref()
            && self.subscription.is_wildcard()
        {
            self.open = Open::default();
            self.answer_owed = false;
        }
    }

    /// Names that turn out to be settled are closed.
    fn full_state_difference(&mut self) -> Difference {
        let mut found = Difference::default();
        let Self { open, base, .. } = self;
        open.retain(|name, entry| {
            match (base.as_ref().and_then(|base| base.get(name)), &entry.known) {
                (Some(current), known) if known.is(current.version()) => return false,
                (None, Known::Nothing) => return false,
                (None, Known::Resource(resource)) => found.departing.push(resource.clone()),
                // What is unknown was refused once, beside others: it must not go out again
                // for order's sake.
                (Some(_), _) | (None, Known::Unknown | Known::Claimed | Known::Version(_)) => {
                    found.changes = true;
                }
            }
            true
        });
        found
    }

    /// A client that has refused all that it was sent on this stream may have anything of an
    /// earlier one: that nothing is left to send must be said.
    fn is_unproven(&self) -> bool {
        let wants = self.subscription.is_wildcard() || !self.subscription.names().is_empty();
        self.nacked_full_state.is_some_and(|nacked| {
            wants && self.acknowledged.is_none() && nacked != version_of(&self.wanted())
        })
    }

    fn wanted(&self) -> Vec<Resource> {
        let Some(base) = &self.base else {
            return Vec::new();
        };
        if self.subscription.is_wildcard() {
            return base.iter().cloned().collect();
        }
        let names = self.subscription.names().iter();
        names.filter_map(|name| base.get(name)).cloned().collect()
    }

    fn is_changed(&self, name: &Arc<str>) -> bool {
        self.open.has(name) && self.get(name).is_some()
    }
}
