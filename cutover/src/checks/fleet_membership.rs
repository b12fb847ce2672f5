//! The registered sidecars against the connected ones.

use async_trait::async_trait;
use pointsman_catalog::NodeId;
use serde_json::json;

use super::{Check, CheckContext, CheckSpec, Finding, Judgement, count};
use crate::ports::Membership;

#[derive(Debug)]
pub(super) struct FleetMembership;

const SPEC: CheckSpec = CheckSpec::block("C74", "fleet.membership");

#[async_trait]
impl Check for FleetMembership {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let judgement = ctx.membership.as_ref().map(judge).map_err(Clone::clone);
        vec![SPEC.finding(ctx, "fleet", ctx.clock.monotonic(), judgement)]
    }
}

/// The fleet is what is registered, never what is connected.
fn judge(membership: &Membership) -> Judgement {
    let Membership {
        registered,
        absent,
        unregistered,
        stale,
        emptied,
    } = membership;
    let all = count(registered.len(), "sidecar");
    let mut judgement = if let Some(first) = absent.first() {
        Judgement::fail(
            format!(
                "{} of {all} missing ({}); nobody can say whether they still send writes to the \
                 old server",
                absent.len(),
                list(absent)
            ),
            if first.is_member() {
                format!(
                    "look at them: pointsman fleet status says until when such a member of a sidecar group is \
                     awaited; retire one that has ended for certain: pointsman fleet retire {first}"
                )
            } else {
                format!("restart them, or retire them: pointsman fleet retire {first}")
            },
        )
    } else if let Some(first) = emptied.first() {
        Judgement::fail(
            format!(
                "sidecar group {first} had members within the last minute and has none now; nobody can say \
                 whether they still send writes to the old server"
            ),
            format!(
                "if they still run, find out why they do not reach the control plane; if all of them have \
                 ended, wait a minute, or remove the group: pointsman fleet group remove {first}"
            ),
        )
    } else if let Some(first) = unregistered.first() {
        Judgement::fail(
            format!(
                "{} connected that nobody registered ({}); no barrier waits for them",
                count(unregistered.len(), "sidecar"),
                list(unregistered)
            ),
            format!("register them (pointsman fleet register {first} --listen IP), or stop them"),
        )
    } else if let Some((first, reason)) = stale.first() {
        Judgement::fail(
            format!(
                "{} of {all} not on the newest snapshot (first: {first}: {reason})",
                stale.len()
            ),
            "wait until it has caught up; where it refuses the snapshot, read why",
        )
    } else if registered.is_empty() {
        Judgement::warn(
            "no sidecar is registered: nobody's connections would be held, and clients that come \
             another way get errors",
            "register the sidecars: pointsman sidecar bootstrap NODE",
        )
    } else {
        Judgement::pass(format!("{all} registered, connected and in step"))
    };
    judgement.evidence.push(json!(membership));
    judgement
}

/// `app-1, app-2`.
pub(super) fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<_> = nodes.into_iter().map(NodeId::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use pointsman_catalog::GroupName;

    use super::*;
    use crate::checks::Grade;

    fn nodes(names: &[&str]) -> Vec<NodeId> {
        names
            .iter()
            .map(|name| NodeId::new(*name).unwrap())
            .collect()
    }

    #[test]
    fn a_whole_fleet_passes() {
        let whole = Membership {
            registered: nodes(&["a", "b"]),
            ..Membership::default()
        };
        assert_eq!(judge(&whole).grade, Grade::Pass);
    }

    #[test]
    fn missing_unregistered_and_stale_sidecars_fail_by_name() {
        let whole = Membership {
            registered: nodes(&["a", "b"]),
            ..Membership::default()
        };
        for broken in [
            Membership {
                absent: nodes(&["b"]),
                ..whole.clone()
            },
            Membership {
                unregistered: nodes(&["b"]),
                ..whole.clone()
            },
            Membership {
                stale: vec![(NodeId::new("b").unwrap(), "NACK".to_owned())],
                ..whole
            },
        ] {
            let judgement = judge(&broken);
            assert_eq!(judgement.grade, Grade::Fail);
            assert!(judgement.message.contains('b'), "{judgement:?}");
        }
    }

    #[test]
    fn a_group_whose_members_have_all_gone_a_short_time_ago_fails() {
        let emptied = Membership {
            registered: nodes(&["a"]),
            emptied: vec![GroupName::new("web").unwrap()],
            ..Membership::default()
        };
        let judgement = judge(&emptied);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.message.contains("group web"), "{judgement:?}");
    }

    #[test]
    fn an_empty_registry_is_said() {
        assert_eq!(judge(&Membership::default()).grade, Grade::Warn);
    }
}
