//! Synchronous replication: commits that wait for a standby which a switch takes away.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct SynchronousStandbys;

const SPEC: CheckSpec = CheckSpec::block("S9", "replica.synchronous-standbys");

const STANDBY_NAMES: &str = "SELECT current_setting('synchronous_standby_names') AS names, \
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS may_change";

#[derive(Debug, Deserialize, Serialize)]
struct StandbyNames {
    names: String,
    /// The control role can replace it: ALTER SYSTEM, and a reload.
    may_change: bool,
}

#[async_trait]
impl Check for SynchronousStandbys {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let (source, target) = (Place::source(ctx), Place::target(ctx));
        let (on_source, on_target) = futures_util::join!(
            source.ask_one::<StandbyNames>(STANDBY_NAMES),
            target.ask_one::<StandbyNames>(STANDBY_NAMES),
        );
        let waived = ctx.waives("S9", None);
        let on_source = on_source.map(|setting| judge_source(source.name(), &setting, waived));
        let on_target = on_target.map(|setting| judge_target(target.name(), &setting));
        vec![
            source.finding(SPEC, began, on_source),
            target.finding(SPEC, began, on_target),
        ]
    }
}

/// The setting is copied with the data directory, and counts from the promotion on.
fn judge_target(server: &str, setting: &StandbyNames) -> Judgement {
    let names = setting.names.trim();
    if names.is_empty() {
        return Judgement::pass(format!("commits on {server} wait for no standby"));
    }
    let message = format!("synchronous_standby_names on the target {server} is '{names}'");
    let judgement = match setting.may_change {
        true => Judgement::warn(
            format!(
                "{message}: where those standbys are not connected to {server} once it is promoted, it is emptied \
                 before {server} is opened, and a rollback gives it back"
            ),
            format!("set it again when {server} has standbys of its own"),
        ),
        false => Judgement::fail(
            format!(
                "{message}: once it is promoted, its first write waits for a standby that follows the old \
                 server, and the control role may not change that"
            ),
            format!(
                "ALTER SYSTEM RESET synchronous_standby_names on {server} (in postgresql.conf, where it is set \
                 there) and reload; set it again when {server} has standbys of its own"
            ),
        ),
    };
    judgement.with(&[setting])
}

/// The setting works until the switch. The message says what the switch changes.
fn judge_source(server: &str, setting: &StandbyNames, waived: bool) -> Judgement {
    let names = setting.names.trim();
    if names.is_empty() {
        return Judgement::pass(format!("commits on {server} wait for no standby"));
    }
    let message = format!(
        "synchronous_standby_names on the source {server} is '{names}': the target will promise less durability \
         than {server} does, and so does {server} after a rollback, where those standbys do not follow it then"
    );
    let judgement = match (setting.may_change, waived) {
        (true, true) => Judgement::warn(
            format!("{message}; waived"),
            "set it again once standbys follow the server that serves",
        ),
        (true, false) => Judgement::fail(
            message,
            "agree on it with the owners of the data, and create the migration with --waive S9",
        ),
        (false, _) => Judgement::fail(
            format!(
                "{message}, and the control role may not change that: writes would wait for ever"
            ),
            format!("empty it on {server} for the time of the migration"),
        ),
    };
    judgement.with(&[setting])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn names(names: &str, may_change: bool) -> StandbyNames {
        StandbyNames {
            names: names.to_owned(),
            may_change,
        }
    }

    #[test]
    fn a_target_that_waits_for_standbys_blocks_only_where_that_cannot_be_changed() {
        assert_eq!(judge_target("green", &names("", false)).grade, Grade::Pass);
        let judgement = judge_target("green", &names("FIRST 1 (a)", false));
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.message.contains("'FIRST 1 (a)'"), "{judgement:?}");
        assert_eq!(judge_target("green", &names("a", true)).grade, Grade::Warn);
    }

    #[test]
    fn less_durability_than_the_source_promises_wants_a_waiver() {
        let judged = |found: &str, may, waived| judge_source("blue", &names(found, may), waived);
        assert_eq!(judged(" ", false, false).grade, Grade::Pass);
        let judgement = judged("a", true, false);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.remedy.contains("--waive S9"), "{judgement:?}");
        assert_eq!(judged("a", true, true).grade, Grade::Warn);
        assert_eq!(judged("a", false, true).grade, Grade::Fail);
    }
}
