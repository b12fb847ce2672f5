mod members;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use pointsman_catalog::{
    DatabaseName, GroupMember, GroupName, Node, NodeId, SidecarGroup, Silence,
};
use pointsman_cutover::ports::Clock;
use pointsman_xds::{Fleet, Group, Identity, Observer, Refusal, SnapshotCache};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub(super) use self::members::Candidate;
use self::members::Members;
use super::{audience::Audience, leases};

/// The registered sidecars and the members of sidecar groups, as last published. It can be asked
/// without waiting for a publish.
#[derive(Debug)]
pub(crate) struct Registry {
    fleet: Arc<Fleet>,
    cache: Arc<SnapshotCache>,
    clock: Arc<dyn Clock>,
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    nodes: BTreeMap<NodeId, RegisteredNode>,
    groups: BTreeMap<GroupName, SidecarGroup>,
    members: Members,
}

/// What is known of one sidecar that barriers await.
#[derive(Clone, Debug)]
pub(super) struct RegisteredNode {
    pub(super) audience: Audience,
    /// It tries a change before the others.
    pub(super) canary: bool,
    /// The group that it is a member of, and the identity that it has proven.
    pub(super) membership: Option<(GroupName, Identity)>,
}

impl Registry {
    /// Nobody is registered yet; `fleet` is told who is, and `cache` whose streams are to end.
    pub(super) fn new(fleet: Arc<Fleet>, cache: Arc<SnapshotCache>, clock: Arc<dyn Clock>) -> Self {
        Self {
            fleet,
            cache,
            clock,
            entries: RwLock::default(),
        }
    }

    /// From now on these are registered, and nobody else, and these groups have members.
    pub(super) fn replace<'a>(
        &self,
        nodes: impl IntoIterator<Item = &'a Node>,
        groups: &BTreeMap<GroupName, SidecarGroup>,
    ) {
        let nodes: BTreeMap<_, _> = nodes
            .into_iter()
            .map(|node| {
                let registered = RegisteredNode {
                    audience: Audience::from(node),
                    canary: node.canary,
                    membership: None,
                };
                (node.id.clone(), registered)
            })
            .collect();
        let ids = nodes.keys();
        self.fleet
            .set_registered(ids.map(|id| pointsman_xds::NodeId::new(id.as_str())));
        let mut entries = self.write();
        entries.nodes = nodes;
        entries.groups.clone_from(groups);
        let without_group = entries.members.retain_of(groups);
        drop(entries);
        for id in without_group {
            self.fleet.withdraw_lease(&id.as_str().into());
        }
    }

    /// The group that admits `identity`, and the path by which it is told from other members.
    pub(super) fn group_of<'a>(&self, identity: &'a Identity) -> Option<(GroupName, &'a str)> {
        let entries = self.read();
        let mut groups = entries.groups.values();
        groups.find_map(|group| {
            let path = group.pattern.admits(identity.as_str())?;
            Some((group.name.clone(), path))
        })
    }

    /// What the cache beside the member `candidate` is sent. It makes nobody a member, so it listens where a
    /// member does, or where members do that say nothing.
    ///
    /// # Errors
    /// Why it is not served.
    pub(super) fn audience_of(&self, candidate: &Candidate) -> Result<Audience, Refusal> {
        let entries = self.read();
        let Some(group) = entries.groups.get(&candidate.group) else {
            return Err(removed(&candidate.group));
        };
        let listen = group
            .listen
            .or(candidate.listen)
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let is_known = listen == Ipv4Addr::LOCALHOST
            || group.listen.is_some()
            || entries.members.listen_on(&group.name, listen);
        if !is_known {
            return Err(Refusal::Unavailable(format!(
                "no member of group {} has listened on {listen} yet: start the sidecar before its cache",
                group.name
            )));
        }
        Ok(Audience::new(listen, group.databases.clone()))
    }

    /// Makes a sidecar that has proven `candidate`'s identity a member of its group. Returns what it is sent.
    ///
    /// # Errors
    /// Why it cannot be a member, for itself and for the record.
    pub(super) fn join(&self, candidate: Candidate) -> Result<Audience, Refusal> {
        let mut entries = self.write();
        let Entries {
            groups, members, ..
        } = &mut *entries;
        let Some(group) = groups.get(&candidate.group) else {
            return Err(removed(&candidate.group));
        };
        let listen = group.listen.or(candidate.listen).ok_or_else(|| {
            Refusal::Denied(
                "neither its group nor its metadata says on which IP address it listens: make its \
                 bootstrap with `pointsman sidecar bootstrap --group`"
                    .to_owned(),
            )
        })?;
        // A bound has room again when others have gone.
        members
            .add(candidate, listen, self.clock.monotonic())
            .map_err(Refusal::Unavailable)?;
        Ok(Audience::new(listen, group.databases.clone()))
    }

    /// Awaits the members of a former process that are of a group still.
    pub(super) fn expect(&self, members: &[GroupMember]) {
        for member in members {
            let Ok(identity) = Identity::new(&member.identity) else {
                continue;
            };
            let candidate = Candidate {
                id: member.id.clone(),
                group: member.group.clone(),
                identity,
                listen: Some(member.listen),
            };
            if self.join(candidate).is_ok() {
                self.await_restored(member);
            }
        }
    }

    fn await_restored(&self, member: &GroupMember) {
        let id = pointsman_xds::NodeId::new(member.id.as_str());
        let lease = leases::of_member(&member.group);
        match member.silence {
            None => self.fleet.expect(id, lease),
            Some(Silence::Passing) => self.fleet.expect_silent(id, lease),
            Some(Silence::Kept) => {
                self.fleet.expect_silent(id.clone(), lease);
                self.fleet.keep_lease(&id);
            }
        }
        self.write().members.set_silence(&member.id, member.silence);
    }

    /// Ends the lease of a member that is not connected. Returns whether there was one.
    pub(crate) fn give_up(&self, id: &NodeId) -> bool {
        let given_up = self.fleet.give_up(&id.as_str().into());
        if given_up {
            self.write().members.remove(id);
        }
        given_up
    }

    /// The sidecar groups that had members a short time ago, and have none now.
    pub(super) fn emptied(&self) -> Vec<GroupName> {
        let statuses = self.fleet.status();
        self.write()
            .members
            .emptied(&statuses, self.clock.monotonic())
    }

    /// The members of sidecar groups, by name.
    pub(super) fn members(&self) -> BTreeMap<NodeId, GroupMember> {
        self.read().members.all()
    }

    /// Ends the streams of nodes for which something else exists now. They come again at once
    /// and are told of that. One that is retired, or whose group is gone, is not served again if it has
    /// a certificate. Forgets members whose lease is over.
    pub(super) fn dismiss_changed(&self) {
        let statuses = self.fleet.status();
        self.write()
            .members
            .retain_known(&statuses, self.clock.monotonic());
        let entries = self.read();
        for status in statuses {
            let Some(served) = &status.group else {
                continue;
            };
            let id = NodeId::new(status.id.as_str()).ok();
            let audience = id.and_then(|id| entries.get(&id)).map(|node| node.audience);
            let is_proven = status.peers.iter().any(|peer| peer.identity.is_some());
            if status.connected() && has_changed(served, audience, is_proven) {
                info!(node = %status.id, %served, "what exists for it has changed: it is to come again");
                self.cache.dismiss(served, &status.id);
            }
        }
        for observer in self.fleet.observers() {
            let Observer { node, group, .. } = &observer;
            let is_proven = observer.peer.identity.is_some();
            if has_changed(group, entries.observed(&observer), is_proven) {
                info!(%node, %group, "what exists for it has changed: its cache is to come again");
                self.cache.dismiss(group, node);
            }
        }
    }

    /// Ends such streams again and again, until `stop`: a node may have been admitted while the
    /// registry changed.
    pub(super) async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(RECHECK) => self.dismiss_changed(),
            }
        }
    }

    /// Whether `database` exists for a sidecar that is registered or a member of a group.
    pub(crate) fn sees(&self, node: &NodeId, database: &DatabaseName) -> bool {
        let found = self.read().get(node);
        found.is_some_and(|node| node.audience.includes(database))
    }

    /// What is known of `node`, if it is registered or a member of a group.
    pub(super) fn get(&self, node: &NodeId) -> Option<RegisteredNode> {
        self.read().get(node)
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn removed(group: &GroupName) -> Refusal {
    Refusal::Denied(format!("group {group} was removed"))
}

/// Whether a sidecar that is sent what `served` is sent is to be sent something else; without an `audience`
/// nothing exists for it.
fn has_changed(served: &Group, audience: Option<Audience>, is_proven: bool) -> bool {
    match audience {
        None => is_proven,
        // Over plain text a sidecar that moves is restarted with its new bootstrap.
        Some(audience) => *served != audience.group() && (is_proven || audience.listens_as(served)),
    }
}

impl Entries {
    /// What the cache of a sidecar is sent now, if that is registered or a group admits its identity.
    fn observed(&self, observer: &Observer) -> Option<Audience> {
        let id = NodeId::new(observer.node.as_str()).ok()?;
        if let Some(node) = self.nodes.get(&id) {
            return Some(node.audience.clone());
        }
        let identity = observer.peer.identity.as_ref()?;
        let mut groups = self.groups.values();
        let group = groups.find(|group| group.pattern.admits(identity.as_str()).is_some())?;
        let listen = group
            .listen
            .or_else(|| Audience::listen_of(&observer.group))?;
        Some(Audience::new(listen, group.databases.clone()))
    }

    fn get(&self, id: &NodeId) -> Option<RegisteredNode> {
        if let Some(node) = self.nodes.get(id) {
            return Some(node.clone());
        }
        let member = self.members.get(id)?;
        let group = self.groups.get(&member.group)?;
        let listen = group.listen.unwrap_or(member.listen);
        Some(RegisteredNode {
            audience: Audience::new(listen, group.databases.clone()),
            canary: false,
            membership: Some((member.group.clone(), member.identity.clone())),
        })
    }
}

/// A sidecar that missed its dismissal waits so long for its new entitlement, and a member whose lease
/// is over is on record so long at most.
const RECHECK: Duration = Duration::from_secs(1);
