//! The registered sidecars against the connected ones, and what they reach.

use std::collections::BTreeMap;

use pointsman_catalog::NodeId;
use serde_json::json;
use tokio::time::Instant;

use super::{
    CheckContext, Finding,
    check::{Check, Judgement, count},
};
use crate::ports::{Membership, Reached};

pub(super) const MEMBERSHIP: Check = Check::block("C74", "fleet.membership");

pub(super) const TARGET_REACHABLE: Check = Check::block("C76", "fleet.target-reachable");

pub(super) fn membership(ctx: &CheckContext<'_>) -> Finding {
    let judgement = ctx.membership.as_ref().map(judge).map_err(Clone::clone);
    MEMBERSHIP.finding(ctx, "fleet", Instant::now(), judgement)
}

pub(super) fn target_reachable(ctx: &CheckContext<'_>) -> Finding {
    let judgement = judge_reached(ctx.target.name.as_str(), ctx.reached);
    TARGET_REACHABLE.finding(ctx, "fleet", Instant::now(), judgement)
}

/// A sidecar that gets no connection to the target would have none for its applications after
/// the flip. One that does not say is no better: nothing is held yet, so there is time to ask.
fn judge_reached(target: &str, reached: &BTreeMap<NodeId, Reached>) -> Result<Judgement, String> {
    let (mut cannot, mut silent) = (Vec::new(), Vec::new());
    for (node, reached) in reached {
        match reached {
            Reached::Yes => {}
            Reached::No(words) => cannot.push((node, words)),
            Reached::Unknown(words) => silent.push((node, words)),
        }
    }
    let all = count(reached.len(), "sidecar");
    let mut judgement = if let Some((first, words)) = cannot.first() {
        Judgement::fail(
            format!(
                "{} of {all} cannot reach {target} ({}); {first}: {words}",
                cannot.len(),
                list(cannot.iter().map(|(node, _)| *node))
            ),
            "let them through to its endpoint: routes, firewalls or security groups of both \
             ends, listen_addresses of the target",
        )
    } else if let Some((first, words)) = silent.first() {
        return Err(format!(
            "{} of {all} did not say whether they reach {target} ({}); {first}: {words}",
            silent.len(),
            list(silent.iter().map(|(node, _)| *node))
        ));
    } else if reached.is_empty() {
        Judgement::pass(format!("no sidecar is registered that could try {target}"))
    } else {
        Judgement::pass(format!("{all} reached {target}"))
    };
    let evidence = reached.iter();
    let evidence = evidence.map(|(node, reached)| json!({ "node": node, "target": reached }));
    judgement.evidence.extend(evidence);
    Ok(judgement)
}

/// What is counted on is the registry, never the connections.
fn judge(membership: &Membership) -> Judgement {
    let Membership {
        registered,
        absent,
        unregistered,
        stale,
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
            format!("restart them, or retire them: pointsman fleet retire {first}"),
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
    } else if let Some((first, words)) = stale.first() {
        Judgement::fail(
            format!(
                "{} of {all} not on the newest snapshot (first: {first}: {words})",
                stale.len()
            ),
            "wait until it has caught up; where it refuses the snapshot, read its words",
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

fn list<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<_> = nodes.into_iter().map(NodeId::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::check::Judged;

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
        assert_eq!(judge(&whole).result, Judged::Pass);
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
            assert_eq!(judgement.result, Judged::Fail);
            assert!(judgement.says.contains('b'), "{judgement:?}");
        }
    }

    #[test]
    fn a_sidecar_that_cannot_reach_the_target_fails_by_name_and_so_does_a_silent_one() {
        let of = |node: &str, reached: Reached| (NodeId::new(node).unwrap(), reached);
        let whole = BTreeMap::from([of("a", Reached::Yes), of("b", Reached::Yes)]);
        let passed = judge_reached("green", &whole).unwrap();
        assert_eq!(passed.result, Judged::Pass);
        assert_eq!(passed.evidence.len(), 2);

        let silent = Reached::Unknown("it has not reported for 4 s".to_owned());
        let silent = BTreeMap::from([of("a", Reached::Yes), of("c", silent)]);
        let words = judge_reached("green", &silent).unwrap_err();
        assert!(words.contains("(c); c: it has not reported"), "{words}");

        let refused = Reached::No("refused".to_owned());
        let refused = BTreeMap::from([of("a", refused), of("b", Reached::Yes)]);
        let judgement = judge_reached("green", &refused).unwrap();
        assert_eq!(judgement.result, Judged::Fail);
        assert!(
            judgement
                .says
                .starts_with("1 of 2 sidecars cannot reach green (a)"),
            "{judgement:?}"
        );
    }

    #[test]
    fn an_empty_registry_is_said() {
        assert_eq!(judge(&Membership::default()).result, Judged::Warn);
    }
}
