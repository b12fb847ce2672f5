mod answered;
mod rebase;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    subscription::{Subscription, SubscriptionChange},
    unsettled::{Known, NameState, UnsettledNames},
};
use crate::resource::{Resource, ResourceSet, Version};

/// What a client wants of one type, and what it is known to have of it, relative to the newest
/// snapshot.
#[derive(Debug)]
pub(super) struct ClientState {
    subscription: Subscription,
    /// The resources of the newest snapshot; `None` before the first one.
    newest: Option<Arc<ResourceSet>>,
    /// For every wanted name that is not in here, the client has acknowledged what `newest` holds.
    unsettled: UnsettledNames,
    /// Whether responses of the type carry the full state, so that absence deletes.
    full_state: bool,
    /// Full state: the client may have resources that it no longer wants, until it accepts the next
    /// response.
    has_leftovers: bool,
}

impl ClientState {
    pub(super) fn new(newest: Option<Arc<ResourceSet>>, full_state: bool) -> Self {
        Self {
            subscription: Subscription::default(),
            newest,
            unsettled: UnsettledNames::default(),
            full_state,
            has_leftovers: false,
        }
    }

    /// Delta: enters the names of a request. See [`Subscription::change`].
    pub(super) fn change_subscription(
        &mut self,
        all: bool,
        subscribe: &[String],
        unsubscribe: &[String],
    ) -> SubscriptionChange {
        let newest = self.newest.as_deref();
        self.subscription
            .change(all, subscribe, unsubscribe, newest)
    }

    /// State of the world: enters the names of a request. See [`Subscription::replace`].
    pub(super) fn replace_subscription(
        &mut self,
        first: bool,
        all: bool,
        names: &[String],
    ) -> SubscriptionChange {
        let newest = self.newest.as_deref();
        self.subscription.replace(first, all, names, newest)
    }

    /// Enters what the client claims to have: its `initial_resource_versions`. With
    /// `versions_count` false, any version may be there. Returns how many of the names do not exist.
    pub(super) fn enter_claims(
        &mut self,
        versions: &HashMap<String, String>,
        versions_count: bool,
    ) -> usize {
        let mut missing = 0;
        for (name, version) in versions {
            if !self.wants(name) {
                continue;
            }
            let version = Version::parse(version).filter(|_| versions_count);
            let state = NameState {
                known: version.map_or(Known::Claimed, Known::Version),
                ..NameState::default()
            };
            self.unsettled.insert(&name.as_str().into(), state);
            missing += usize::from(self.newest(name).is_none());
        }
        missing
    }

    /// Marks names under which the client may have anything.
    pub(super) fn enter_unconfirmed(&mut self, names: &[Arc<str>]) {
        for name in names {
            if self.wants(name) {
                self.unsettled.insert(name, NameState::unknown());
            }
        }
    }

    /// Enters a change of the subscription.
    pub(super) fn apply(&mut self, change: &SubscriptionChange) {
        self.unsettle_new(change);
        self.has_leftovers |= self.full_state && self.leaves_resources(change);
        if !self.full_state {
            for asked in &change.asked {
                self.unsettle(&asked.name).owed = true;
            }
        }
        for name in &change.gone {
            if !self.wants(name) {
                self.unsettled.remove(name);
            }
        }
        if change.narrowed {
            let subscription = &self.subscription;
            self.unsettled.retain(|name, _| subscription.covers(name));
        }
    }

    /// Every existing resource must be sent again, also if the client has it.
    pub(super) fn owe_all(&mut self) {
        let all = self.newest.iter().flat_map(|set| set.iter());
        let names: Vec<_> = all.map(|resource| Arc::clone(resource.name())).collect();
        for name in names {
            self.unsettle(&name).owed = true;
        }
    }

    /// The client will forget what it has under `name`: the resource must be sent again.
    pub(super) fn void(&mut self, name: &Arc<str>) {
        let state = NameState {
            owed: true,
            ..NameState::unknown()
        };
        self.unsettled.insert(name, state);
    }

    /// `name` is being sent.
    pub(super) fn mark_sent(&mut self, name: &str) {
        if let Some(state) = self.unsettled.get_mut(name) {
            state.owed = false;
        }
    }

    /// The client has everything.
    pub(super) fn settle_all(&mut self) {
        self.unsettled = UnsettledNames::default();
    }

    /// Visits each unsettled name with its resource in the newest snapshot. A name is settled if
    /// `keep` returns `false`.
    pub(super) fn retain_unsettled(
        &mut self,
        mut keep: impl FnMut(&Arc<str>, Option<&Resource>, &mut NameState) -> bool,
    ) {
        let newest = self.newest.as_deref();
        self.unsettled.retain(|name, state| {
            let resource = newest.and_then(|set| set.get(name));
            keep(name, resource, state)
        });
    }

    pub(super) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.subscription.covers(name)
    }

    pub(super) fn newest_set(&self) -> Option<&Arc<ResourceSet>> {
        self.newest.as_ref()
    }

    /// The newest resource under `name`.
    pub(super) fn newest(&self, name: &str) -> Option<&Resource> {
        self.newest.as_ref()?.get(name)
    }

    /// The version of the newest set.
    pub(super) fn version(&self) -> Option<Version> {
        self.newest.as_ref().map(|set| set.version())
    }

    pub(super) fn is_full_state(&self) -> bool {
        self.full_state
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// The state of `name`; `None` if it is settled.
    pub(super) fn unsettled(&self, name: &str) -> Option<&NameState> {
        self.unsettled.get(name)
    }

    /// By name, ascending.
    pub(super) fn unsettled_names(&self) -> impl Iterator<Item = (&Arc<str>, &NameState)> {
        self.unsettled.iter()
    }

    /// The newest resources that the client wants, by name.
    pub(super) fn wanted(&self) -> Vec<Resource> {
        let Some(newest) = &self.newest else {
            return Vec::new();
        };
        if self.subscription.is_wildcard() {
            return newest.iter().cloned().collect();
        }
        let names = self.subscription.names().iter();
        names.filter_map(|name| newest.get(name)).cloned().collect()
    }

    /// The state of a wanted name. If the name was settled, the client has the newest resource.
    fn unsettle(&mut self, name: &Arc<str>) -> &mut NameState {
        let (newest, full_state) = (self.newest.as_ref(), self.full_state);
        self.unsettled.get_or_insert_with(name, || {
            NameState::of(newest.and_then(|set| set.get(name)), full_state)
        })
    }

    /// Names that were not wanted before are unsettled, also those without a resource.
    fn unsettle_new(&mut self, change: &SubscriptionChange) {
        let has_leftovers = self.has_leftovers;
        let new = || NameState {
            known: if has_leftovers {
                Known::Unknown
            } else {
                Known::Nothing
            },
            ..NameState::default()
        };
        for asked in change.asked.iter().filter(|asked| asked.new) {
            self.unsettled.get_or_insert_with(&asked.name, new);
        }
        if !change.widened {
            return;
        }
        let former = change.asked.iter().filter(|asked| !asked.new);
        let former: BTreeSet<_> = former.map(|asked| &asked.name).collect();
        let all = self.newest.iter().flat_map(|set| set.iter());
        for name in all.map(Resource::name) {
            if !self.subscription.has_name(name) && !former.contains(name) {
                self.unsettled.get_or_insert_with(name, new);
            }
        }
    }

    /// Whether the client may have any of the resources that it no longer wants.
    fn leaves_resources(&self, change: &SubscriptionChange) -> bool {
        let may_have = |name: &Arc<str>| match self.unsettled.get(name) {
            Some(state) => state.may_exist(),
            None => self.newest(name).is_some(),
        };
        let all = self.newest.iter().flat_map(|set| set.iter());
        let all = all.map(Resource::name);
        let mut all = all.chain(self.unsettled.iter().map(|(name, _)| name));
        change.gone.iter().any(may_have) || (change.narrowed && all.any(may_have))
    }
}
