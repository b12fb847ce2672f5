//! The members of sidecar groups.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
    time::Duration,
};

use pointsman_catalog::{GroupMember, GroupName, NodeId, SidecarGroup, Silence};
use pointsman_cutover::ports::Monotonic;
use pointsman_xds::{Absence, Identity, NodeStatus};

/// The members that barriers await, and those that are about to connect. It takes a bounded space
/// for any names that members give themselves.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: BTreeMap<NodeId, Member>,
    /// When a group last had a member.
    last_seen: BTreeMap<GroupName, Monotonic>,
}

/// A member of a sidecar group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: GroupName,
    pub(super) identity: Identity,
    pub(super) listen: IpAddr,
    /// As the fleet last said.
    silence: Option<Silence>,
    admitted: Monotonic,
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
    /// Adds a member that listens on `listen`, and is about to connect.
    ///
    /// # Errors
    /// Which bound is reached.
    pub(super) fn add(
        &mut self,
        candidate: Candidate,
        listen: IpAddr,
        now: Monotonic,
    ) -> Result<(), String> {
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
            silence: None,
            admitted: now,
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
                    silence: member.silence,
                };
                (id.clone(), member)
            })
            .collect()
    }

    /// Removes the members of other groups than these. Returns who they were.
    pub(super) fn retain_of(&mut self, groups: &BTreeMap<GroupName, SidecarGroup>) -> Vec<NodeId> {
        self.last_seen.retain(|group, _| groups.contains_key(group));
        let removed = self
            .by_id
            .extract_if(.., |_, member| !groups.contains_key(&member.group));
        removed.map(|(id, _)| id).collect()
    }

    /// Removes the members that the fleet does not know any more: their lease is over. Takes over what it
    /// says of the others.
    pub(super) fn retain_known(&mut self, statuses: &[NodeStatus], now: Monotonic) {
        let known: BTreeMap<_, _> = statuses
            .iter()
            .map(|status| (status.id.as_str(), status))
            .collect();
        self.by_id.retain(|id, member| {
            let Some(status) = known.get(id.as_str()) else {
                return now.since(member.admitted) < CONNECTING;
            };
            member.silence = silence(status);
            self.last_seen.insert(member.group.clone(), now);
            true
        });
        self.last_seen.retain(|_, seen| now.since(*seen) < EMPTIED);
    }

    /// The groups that had members within the last minute, and have none now.
    pub(super) fn emptied(&mut self, statuses: &[NodeStatus], now: Monotonic) -> Vec<GroupName> {
        self.retain_known(statuses, now);
        let emptied = self.last_seen.iter().filter(|(_, seen)| **seen != now);
        emptied.map(|(group, _)| group.clone()).collect()
    }

    /// Takes over what a former process knew.
    pub(super) fn set_silence(&mut self, id: &NodeId, silence: Option<Silence>) {
        if let Some(member) = self.by_id.get_mut(id) {
            member.silence = silence;
        }
    }

    /// Removes a member that has ended for certain. A group without any other is empty for certain, too.
    pub(super) fn remove(&mut self, id: &NodeId) {
        let Some(Member { group, .. }) = self.by_id.remove(id) else {
            return;
        };
        if self.by_id.values().all(|member| member.group != group) {
            self.last_seen.remove(&group);
        }
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

fn silence(status: &NodeStatus) -> Option<Silence> {
    let lease = status.lease?;
    if lease.is_kept() {
        return Some(Silence::Kept);
    }
    (lease.absence == Some(Absence::Silent)).then_some(Silence::Passing)
}

/// The largest fleet that one control plane is meant for.
const MAX_MEMBERS: usize = 10_000;
/// A deployment whose pods share one identity.
const MAX_PER_IDENTITY: usize = 2_000;
/// Of one group. On one host each sidecar needs an address of its own.
const MAX_ADDRESSES: usize = 256;
/// From admission to the entry in the fleet, at most.
const CONNECTING: Duration = Duration::from_secs(30);
/// For so long nobody can say whether the members of a group have ended or have lost their way here.
const EMPTIED: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::leases;

    fn began() -> Monotonic {
        Monotonic::new(Duration::ZERO)
    }

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
            members.add(candidate(path, instance), local, began())
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
        members.retain_known(&[], began().plus(CONNECTING / 2));
        assert_eq!(
            members.by_id.len(),
            MAX_PER_IDENTITY + 2,
            "they may be connecting"
        );
        members.retain_known(&[], began().plus(CONNECTING));
        assert!(members.by_id.is_empty(), "none of them has connected");
    }

    #[tokio::test]
    async fn a_group_whose_last_member_went_is_emptied_for_a_minute() {
        let fleet = pointsman_xds::Fleet::new(Default::default());
        let member = candidate("web", "pod");
        let (id, group) = (member.id.as_str().into(), member.group.clone());
        let now = began();
        let mut members = Members::default();
        members.add(member, [127, 0, 0, 1].into(), now).unwrap();
        assert_eq!(members.emptied(&fleet.status(), now), []);
        fleet.expect(id, leases::of_member(&group));
        assert_eq!(members.emptied(&fleet.status(), now), []);
        let later = |seconds| now.plus(Duration::from_secs(seconds));
        let emptied = [group];
        assert_eq!(members.emptied(&[], later(1)), emptied);
        assert_eq!(members.emptied(&[], later(59)), emptied);
        assert_eq!(members.emptied(&[], later(60)), []);
    }

    #[test]
    fn a_group_listens_on_so_many_addresses() {
        let mut members = Members::default();
        let mut add = |instance: &str, listen: [u8; 4]| {
            members.add(candidate("web", instance), listen.into(), began())
        };
        for last in 0..=u8::MAX {
            add(&last.to_string(), [127, 0, 0, last]).unwrap();
        }
        let refused = add("one-more", [127, 0, 1, 0]).unwrap_err();
        assert!(refused.contains("--listen"), "{refused}");
        add("another", [127, 0, 0, 1]).unwrap();
    }
}
