//! Source and target are one system, in the roles that a switch begins with.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct SameSystem;

const SPEC: CheckSpec = CheckSpec::block("ID", "replica.same-system");

/// A physical copy keeps the system identifier of its origin: PostgreSQL docs, "Internals",
/// `pg_control_system`.
const IDENTITY: &str = "
SELECT system_identifier::text AS system_identifier, pg_is_in_recovery() AS in_recovery
FROM pg_control_system()";

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Identity {
    system_identifier: String,
    in_recovery: bool,
}

#[async_trait]
impl Check for SameSystem {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let (on_source, on_target) = (Place::source(ctx), Place::target(ctx));
        let (source, target) = futures_util::join!(
            on_source.ask_one::<Identity>(IDENTITY),
            on_target.ask_one::<Identity>(IDENTITY),
        );
        let judgement = source
            .and_then(|source| target.map(|target| (source, target)))
            .map(|(source, target)| judge(on_source.name(), &source, on_target.name(), &target));
        vec![on_target.finding(SPEC, began, judgement)]
    }
}

fn judge(from: &str, source: &Identity, to: &str, target: &Identity) -> Judgement {
    let (a, b) = (&source.system_identifier, &target.system_identifier);
    let judgement = if a != b {
        Judgement::fail(
            format!(
                "the target {to} is not a replica of {from}: system identifiers {b} and {a} differ"
            ),
            format!(
                "build {to} as a physical standby of {from} (pg_basebackup), or name the server \
                 that is one"
            ),
        )
    } else if source.in_recovery {
        Judgement::fail(
            format!("the source {from} is a standby itself: it is in recovery"),
            "name the primary as the source",
        )
    } else if !target.in_recovery {
        Judgement::fail(
            format!("the target {to} is a primary already: it is not in recovery"),
            format!("find out who promoted it, and rebuild it as a standby of {from}"),
        )
    } else {
        Judgement::pass(format!(
            "{to} is a physical standby of the same system as {from} ({a})"
        ))
    };
    judgement.with(&[source, target])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn judged(source: (&str, bool), target: (&str, bool)) -> Judgement {
        let identity = |(id, in_recovery): (&str, bool)| Identity {
            system_identifier: id.to_owned(),
            in_recovery,
        };
        judge("blue", &identity(source), "green", &identity(target))
    }

    #[test]
    fn a_standby_of_the_same_system_passes() {
        assert_eq!(
            judged(("7", false), ("7", true)).grade,
            Grade::Pass,
            "same identifier, one in recovery"
        );
    }

    #[test]
    fn a_server_of_another_system_is_named_with_both_identifiers() {
        let judgement = judged(("7", false), ("8", true));
        assert_eq!(judgement.grade, Grade::Fail);
        assert_eq!(
            judgement.message,
            "the target green is not a replica of blue: system identifiers 8 and 7 differ"
        );
    }

    #[test]
    fn a_promoted_target_and_a_source_in_recovery_fail() {
        assert_eq!(judged(("7", false), ("7", false)).grade, Grade::Fail);
        let judgement = judged(("7", true), ("7", true));
        assert!(
            judgement.message.contains("source blue is a standby"),
            "{judgement:?}"
        );
    }
}
