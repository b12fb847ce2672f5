//! Synchronous replication: commits that wait for a standby which a switch takes away.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct SynchronousStandbys;

const SPEC: CheckSpec = CheckSpec::block("S9", "replica.synchronous-standbys");

const STANDBY_NAMES: &str = "SELECT current_setting('synchronous_standby_names') AS names";

#[derive(Debug, Deserialize, Serialize)]
struct StandbyNames {
    names: String,
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
        let on_source = on_source.map(|setting| judge_source(source.name(), &setting));
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
    Judgement::fail(
        format!(
            "synchronous_standby_names on the target {server} is '{names}': once it is promoted, \
             its first write waits for a standby that follows the old server"
        ),
        format!(
            "ALTER SYSTEM RESET synchronous_standby_names on {server} (in postgresql.conf, where \
             it is set there) and reload; set it again when {server} has standbys of its own"
        ),
    )
    .with(&[setting])
}

/// The setting works until the switch. The message says what the switch changes.
fn judge_source(server: &str, setting: &StandbyNames) -> Judgement {
    let names = setting.names.trim();
    if names.is_empty() {
        return Judgement::pass(format!("commits on {server} wait for no standby"));
    }
    Judgement::warn(
        format!(
            "synchronous_standby_names on the source {server} is '{names}': the target will \
             promise less durability than {server} does, and after a rollback writes on {server} \
             wait until those standbys follow it again"
        ),
        "agree on it with the owners of the data, or let standbys that stay with the source \
         satisfy the setting",
    )
    .with(&[setting])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    #[test]
    fn an_empty_setting_passes_and_a_set_one_blocks_on_the_target_only() {
        let names = |names: &str| StandbyNames {
            names: names.to_owned(),
        };
        assert_eq!(judge_target("green", &names("")).grade, Grade::Pass);
        assert_eq!(judge_source("blue", &names(" ")).grade, Grade::Pass);
        let judgement = judge_target("green", &names("FIRST 1 (a)"));
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.message.contains("'FIRST 1 (a)'"), "{judgement:?}");
        assert_eq!(judge_source("blue", &names("a")).grade, Grade::Warn);
    }
}
