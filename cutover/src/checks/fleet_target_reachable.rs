//! Whether the sidecars reach the target.

use std::collections::BTreeMap;

use async_trait::async_trait;
use pointsman_catalog::NodeId;
use serde_json::json;

use super::{Check, CheckContext, CheckSpec, Finding, Judgement, count, fleet_membership::list};
use crate::ports::Reached;

#[derive(Debug)]
pub(super) struct TargetReachable;

const SPEC: CheckSpec = CheckSpec::block("C76", "fleet.target-reachable");

#[async_trait]
impl Check for TargetReachable {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let judgement = judge(ctx.target.name.as_str(), ctx.reached);
        vec![SPEC.finding(ctx, "fleet", ctx.clock.monotonic(), Ok(judgement))]
    }
}

/// A sidecar that gets no connection to the target has no writer for its applications after
/// the flip. A sidecar that does not answer does not pass either: nothing is held yet, so there
/// is time to find out why.
fn judge(target: &str, reached: &BTreeMap<NodeId, Reached>) -> Judgement {
    let (mut cannot, mut silent) = (Vec::new(), Vec::new());
    for (node, reached) in reached {
        match reached {
            Reached::Yes => {}
            Reached::No(reason) => cannot.push((node, reason)),
            Reached::Unknown(reason) => silent.push((node, reason)),
        }
    }
    let all = count(reached.len(), "sidecar");
    let mut judgement = if let Some((first, reason)) = cannot.first() {
        Judgement::fail(
            format!(
                "{} of {all} cannot reach {target} ({}); {first}: {reason}",
                cannot.len(),
                list(cannot.iter().map(|(node, _)| *node))
            ),
            "let them through to its endpoint: routes, firewalls or security groups of both \
             ends, listen_addresses of the target",
        )
    } else if let Some((first, reason)) = silent.first() {
        Judgement::unknown(
            format!(
                "{} of {all} did not say whether they reach {target} ({}); {first}: {reason}",
                silent.len(),
                list(silent.iter().map(|(node, _)| *node))
            ),
            "start a sidecar that is not connected (C74 names it), or retire it; look at one that is \
             connected and does not report; then run the preflight again",
        )
    } else if reached.is_empty() {
        Judgement::pass(format!("no sidecar is registered that could try {target}"))
    } else {
        Judgement::pass(format!("{all} reached {target}"))
    };
    let evidence = reached.iter();
    let evidence = evidence.map(|(node, reached)| json!({ "node": node, "target": reached }));
    judgement.evidence.extend(evidence);
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    #[test]
    fn a_sidecar_that_cannot_reach_the_target_fails_by_name_and_so_does_a_silent_one() {
        let of = |node: &str, reached: Reached| (NodeId::new(node).unwrap(), reached);
        let whole = BTreeMap::from([of("a", Reached::Yes), of("b", Reached::Yes)]);
        let passed = judge("green", &whole);
        assert_eq!(passed.grade, Grade::Pass);
        assert_eq!(passed.evidence.len(), 2);

        let silent = Reached::Unknown("it has not reported for 4 s".to_owned());
        let silent = BTreeMap::from([of("a", Reached::Yes), of("c", silent)]);
        let judgement = judge("green", &silent);
        assert_eq!(judgement.grade, Grade::Unknown);
        let said = "(c); c: it has not reported";
        assert!(judgement.message.contains(said), "{judgement:?}");
        assert!(judgement.remedy.contains("C74"), "{judgement:?}");

        let refused = Reached::No("refused".to_owned());
        let refused = BTreeMap::from([of("a", refused), of("b", Reached::Yes)]);
        let judgement = judge("green", &refused);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement
                .message
                .starts_with("1 of 2 sidecars cannot reach green (a)"),
            "{judgement:?}"
        );
    }
}
