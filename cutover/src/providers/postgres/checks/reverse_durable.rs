//! Whether commits on the target can be made to wait for the source.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct DurableWayBack;

const SPEC: CheckSpec = CheckSpec::block("S7", "reverse.durable-way-back");

const SERVER: &str = "SELECT current_setting('server_version_num')::int AS version, \
       current_setting('synchronous_standby_names') AS names, r.rolname::text AS role, \
       r.rolsuper AS may_set \
     FROM pg_roles r WHERE r.rolname = current_user";
/// From 15 on: <https://www.postgresql.org/docs/15/sql-grant.html>
const GRANTED: &str = "SELECT \
       has_parameter_privilege('synchronous_standby_names', 'ALTER SYSTEM') \
         AND has_function_privilege('pg_reload_conf()', 'EXECUTE') AS may_set";

#[derive(Debug, Deserialize, Serialize)]
struct Setting {
    version: u32,
    names: String,
    role: String,
    /// ALTER SYSTEM, and a reload.
    may_set: bool,
}

#[derive(Debug, Deserialize)]
struct Granted {
    may_set: bool,
}

#[async_trait]
impl Check for DurableWayBack {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let target = Place::target(ctx);
        let judgement = if ctx.durable_way_back {
            let setting = read(&target).await;
            setting.map(|setting| judge(target.name(), &setting))
        } else {
            Ok(Judgement::pass("no durable way back was asked for"))
        };
        vec![target.finding(SPEC, began, judgement)]
    }
}

async fn read(target: &Place<'_>) -> Result<Setting, String> {
    let mut setting: Setting = target.ask_one(SERVER).await?;
    if !setting.may_set && setting.version >= GRANTS_PARAMETERS {
        let granted: Granted = target.ask_one(GRANTED).await?;
        setting.may_set = granted.may_set;
    }
    Ok(setting)
}

fn judge(target: &str, setting: &Setting) -> Judgement {
    let Setting { version, role, .. } = setting;
    let judgement = if setting.may_set {
        Judgement::pass(format!(
            "commits on {target} can be made to wait for the source in the bake"
        ))
    } else {
        let remedy = match *version >= GRANTS_PARAMETERS {
            true => format!(
                "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO {role}; GRANT EXECUTE ON FUNCTION \
                 pg_reload_conf() TO {role}; or create the migration without --durable-way-back"
            ),
            false => format!(
                "use a superuser as {role}, since before PostgreSQL 15 nobody else may; or create the migration \
                 without --durable-way-back"
            ),
        };
        Judgement::fail(
            format!(
                "--durable-way-back was asked for, and {role} may not set synchronous_standby_names on {target}"
            ),
            remedy,
        )
    };
    judgement.with(&[setting])
}

/// The version from which on the right is granted.
const GRANTS_PARAMETERS: u32 = 150_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn judged(version: u32, may_set: bool) -> Judgement {
        let setting = Setting {
            version,
            names: String::new(),
            role: "master".to_owned(),
            may_set,
        };
        judge("green", &setting)
    }

    #[test]
    fn without_the_right_the_option_blocks_and_says_what_is_lacking() {
        assert_eq!(judged(140_000, true).grade, Grade::Pass);
        let lacking = judged(150_000, false);
        assert_eq!(lacking.grade, Grade::Fail);
        let grant = "GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names TO master";
        assert!(lacking.remedy.contains(grant), "{lacking:?}");
        assert!(judged(140_000, false).remedy.contains("superuser"));
    }
}
