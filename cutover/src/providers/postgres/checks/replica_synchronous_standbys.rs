//! Synchronous replication: commits that wait for a standby which a switch takes away.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{super::statements::identifier, control_role::ControlRole, place::Place};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct SynchronousStandbys;

const SPEC: CheckSpec = CheckSpec::block("S9", "replica.synchronous-standbys");

/// From 15 on the right to set a parameter can be granted.
fn standby_names(role: &ControlRole) -> String {
    let may_set = match role.version >= PARAMETERS_ARE_GRANTED {
        true => "has_parameter_privilege('synchronous_standby_names', 'ALTER SYSTEM')",
        false => "false",
    };
    format!(
        "SELECT current_setting('synchronous_standby_names') AS names, \
           {} OR {may_set} AND has_function_privilege('pg_catalog.pg_reload_conf()', 'EXECUTE') AS may_change",
        role.superuser
    )
}

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
        let (on_source, on_target) = futures_util::join!(look(source), look(target));
        let waived = ctx.waives("S9", None);
        let on_source =
            on_source.map(|(setting, grant)| judge_source(source.name(), &setting, waived, &grant));
        let on_target =
            on_target.map(|(setting, grant)| judge_target(target.name(), &setting, &grant));
        vec![
            source.finding(SPEC, began, on_source),
            target.finding(SPEC, began, on_target),
        ]
    }
}

/// The setting, and what lets the control role change it.
async fn look(place: Place<'_>) -> Result<(StandbyNames, String), String> {
    let role = ControlRole::of(place).await?;
    let setting = place.ask_one(&standby_names(&role)).await?;
    Ok((setting, grant(&role)))
}

/// Empty where nothing does but superuser.
fn grant(role: &ControlRole) -> String {
    if role.version < PARAMETERS_ARE_GRANTED {
        return String::new();
    }
    let name = identifier(&role.name);
    format!(
        "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO {name}; in database postgres: GRANT \
         EXECUTE ON FUNCTION pg_catalog.pg_reload_conf() TO {name}; or "
    )
}

/// The setting is copied with the data directory, and counts from the promotion on.
fn judge_target(server: &str, setting: &StandbyNames, grant: &str) -> Judgement {
    let names = setting.names.trim();
    if names.is_empty() {
        return Judgement::pass(format!("commits on {server} wait for no standby"));
    }
    let message = format!("synchronous_standby_names on the target {server} is '{names}'");
    let judgement = match setting.may_change {
        true => Judgement::warn(
            format!(
                "{message}: where those standbys are not connected to {server} once it is promoted, it is emptied \
                 before {server} is opened, set again once they are, and a rollback gives it back"
            ),
            format!("let those standbys follow {server} once it is promoted"),
        ),
        false => Judgement::fail(
            format!(
                "{message}: once it is promoted, its first write waits for a standby that follows the old \
                 server, and the control role may not change that"
            ),
            format!(
                "{grant}ALTER SYSTEM RESET synchronous_standby_names on {server} (in postgresql.conf, where it is set \
                 there) and reload; set it again when {server} has standbys of its own"
            ),
        ),
    };
    judgement.with(&[setting])
}

/// The setting works until the switch. The message says what the switch changes.
fn judge_source(server: &str, setting: &StandbyNames, waived: bool, grant: &str) -> Judgement {
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
            format!("{grant}empty it on {server} for the time of the migration"),
        ),
    };
    judgement.with(&[setting])
}

/// `server_version_num` of the first release in which the right to set a parameter is granted.
const PARAMETERS_ARE_GRANTED: i64 = 150_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::control_role, *};
    use crate::checks::Grade;

    fn names(names: &str, may_change: bool) -> StandbyNames {
        StandbyNames {
            names: names.to_owned(),
            may_change,
        }
    }

    #[test]
    fn a_target_that_waits_for_standbys_blocks_only_where_that_cannot_be_changed() {
        assert_eq!(
            judge_target("green", &names("", false), "").grade,
            Grade::Pass
        );
        let judgement = judge_target("green", &names("FIRST 1 (a)", false), "");
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.message.contains("'FIRST 1 (a)'"), "{judgement:?}");
        assert_eq!(
            judge_target("green", &names("a", true), "").grade,
            Grade::Warn
        );
    }

    #[test]
    fn less_durability_than_the_source_promises_wants_a_waiver() {
        let judged =
            |found: &str, may, waived| judge_source("blue", &names(found, may), waived, "");
        assert_eq!(judged(" ", false, false).grade, Grade::Pass);
        let judgement = judged("a", true, false);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.remedy.contains("--waive S9"), "{judgement:?}");
        assert_eq!(judged("a", true, true).grade, Grade::Warn);
        assert_eq!(judged("a", false, true).grade, Grade::Fail);
    }

    #[test]
    fn s9_from_15_on_the_right_to_change_it_is_granted() {
        let of = |version| control_role::role(&json!({"version": version}));
        assert_eq!(grant(&of(140_001)), "");
        let judgement = judge_target("green", &names("a", false), &grant(&of(150_001)));
        let expected = "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO \"pointsman\"";
        assert!(judgement.remedy.starts_with(expected), "{judgement:?}");
        assert!(!standby_names(&of(140_001)).contains("has_parameter_privilege"));
        assert!(standby_names(&of(150_001)).contains("has_parameter_privilege"));
    }
}
