//! The members of sidecar groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
    time::Duration,
};

use pointsman_catalog::{GroupMember, GroupName, NodeId, SidecarGroup};
use pointsman_xds::{Identity, NodeStatus};
use tokio::time::Instant;

/// The members that barriers await, and those that are about to connect. It takes a bounded space
/// for any names that members give themselves.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<NodeId, Member>,
}

/// A member of a sidecar group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: GroupName,
    pub(super) identity: Identity,
    pub(super) listen: IpAddr,
    admitted: Instant,
}

/// A sidecar that has proven an identity that a group admits.
#[derive(Clone, Debug)]
pub(in crate::publish) struct Candidate {
    pub(in crate::publish) id: NodeId,
    pub(in crate::publish) group: GroupName,
    pub(in crate::publish) identity: Identity,
    /// Where it says that it listens.
    pub(in crate::publish) listen: Option<IpAddr>,
}

impl Members {
    /// Adds a member that listens on `listen`.
    ///
    /// # Errors
    /// Which bound is reached.
    pub(super) fn add(&mut self, candidate: Candidate, listen: IpAddr) -> Result<(), String> {
        let Candidate {
            id,
            group,
            identity,
            listen: _,
        } = candidate;
        if !self.by_id.contains_key(&id) {
            self.check_room(&id)?;
        }
        self.check_listen(&group, listen)?;
        let member = Member {
            group,
            identity,
            listen,
            admitted: Instant::now(),
        };
        self.by_id.insert(id, member);
        Ok(())
    }

    pub(super) fn get(&self, id: &NodeId) -> Option<&Member> {
        self.by_id.get(id)
    }

    pub(super) fn all(&self) -> BTreeMap<NodeId, GroupMember> {
        let members = self.by_id.iter();
        members
            .map(|(id, member)| {
                let member = GroupMember {
                    id: id.clone(),
                    group: member.group.clone(),
                    identity: member.identity.to_string(),
                    listen: member.listen,
                };
                (id.clone(), member)
            })
            .collect()
    }

    /// Removes the members of other groups than these. Returns who they were.
    pub(super) fn retain_of(&mut self, groups: &BTreeMap<GroupName, SidecarGroup>) -> Vec<NodeId> {
        let removed = self
            .by_id
            .extract_if(.., |_, member| !groups.contains_key(&member.group));
        removed.map(|(id, _)| id).collect()
    }

    /// Removes the members that the fleet does not know any more: their lease is over.
    pub(super) fn retain_known(&mut self, statuses: &[NodeStatus]) {
        let known: BTreeSet<_> = statuses.iter().map(|status| status.id.as_str()).collect();
        self.by_id.retain(|id, member| {
            known.contains(id.as_str()) || member.admitted.elapsed() < CONNECTING
        });
    }

    /// Whether a member of `group` listens on `address`.
    pub(super) fn listen_on(&self, group: &GroupName, address: IpAddr) -> bool {
        let mut members = self.by_id.values();
        members.any(|member| member.group == *group && member.listen == address)
    }

    fn check_room(&self, id: &NodeId) -> Result<(), String> {
        if self.by_id.len() >= MAX_MEMBERS {
            return Err(format!(
                "there are {MAX_MEMBERS} members of groups already, as many as are counted"
            ));
        }
        let prefix = format!("{}@", id.without_instance());
        let from = Bound::Included(prefix.as_str());
        let same = self.by_id.range::<str, _>((from, Bound::Unbounded));
        let same = same.take_while(|(other, _)| other.as_str().starts_with(&prefix));
        if same.take(MAX_PER_IDENTITY).count() == MAX_PER_IDENTITY {
            return Err(format!(
                "{MAX_PER_IDENTITY} members with this identity are counted already; those that went are \
                 forgotten when their leases end"
            ));
        }
        Ok(())
    }

    /// Each address is a set of listeners of its own.
    fn check_listen(&self, group: &GroupName, listen: IpAddr) -> Result<(), String> {
        let of_group = self.by_id.values().filter(|member| member.group == *group);
        let mut addresses = of_group.map(|member| member.listen);
        if addresses.clone().any(|known| known == listen) {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        if addresses.any(|address| known.insert(address) && known.len() >= MAX_ADDRESSES) {
            return Err(format!(
                "the members of group {group} listen on {MAX_ADDRESSES} different addresses already: \
                 declare one for all of them (fleet group add … --listen IP)"
            ));
        }
        Ok(())
    }
}

/// The largest fleet that one control plane is meant for.
const MAX_MEMBERS: usize = 10_000;
/// A deployment whose pods share one identity.
const MAX_PER_IDENTITY: usize = 2_000;
/// Of one group. On one host each sidecar needs an address of its own.
const MAX_ADDRESSES: usize = 256;
/// From admission to the entry in the fleet, at most.
const CONNECTING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(path: &str, instance: &str) -> Candidate {
        let group = GroupName::new("orders").unwrap();
        Candidate {
            id: NodeId::member(&group, path, instance).unwrap(),
            group,
            identity: Identity::new(&format!("spiffe://example.org/orders/{path}")).unwrap(),
            listen: None,
        }
    }

    #[test]
    fn whoever_calls_itself_by_name_after_name_fills_nothing() {
        let mut members = Members::default();
        let mut add = |path, instance: &str| {
            let local = [127, 0, 0, 1].into();
            members.add(candidate(path, instance), local)
        };
        // A name that sorts between those of the identity `web`.
        add("web-2", "pod").unwrap();
        for number in 0..MAX_PER_IDENTITY {
            add("web", &number.to_string()).unwrap();
        }
        let refused = add("web", "one-more").unwrap_err();
        assert!(refused.contains("with this identity"), "{refused}");
        add("web", "0").unwrap();
        add("other", "pod").unwrap();
        members.retain_known(&[]);
        assert_eq!(
            members.by_id.len(),
            MAX_PER_IDENTITY + 2,
            "they may be connecting"
        );
    }

    #[test]
    fn a_group_listens_on_so_many_addresses() {
        let mut members = Members::default();
        let mut add = |instance: &str, listen: [u8; 4]| {
            members.add(candidate("web", instance), listen.into())
        };
        for last in 0..=u8::MAX {
            add(&last.to_string(), [127, 0, 0, last]).unwrap();
        }
        let refused = add("one-more", [127, 0, 1, 0]).unwrap_err();
        assert!(refused.contains("--listen"), "{refused}");
        add("another", [127, 0, 0, 1]).unwrap();
    }
}
