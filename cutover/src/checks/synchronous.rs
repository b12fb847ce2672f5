//! Synchronous replication: commits that wait for a standby which a switch takes away.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    CheckContext, Finding,
    check::{Check, Judgement},
    place::Place,
};

pub(super) const SYNCHRONOUS: Check = Check::block("S9", "replica.synchronous-standbys");

const STANDBY_NAMES: &str = "SELECT current_setting('synchronous_standby_names') AS names";

#[derive(Debug, Deserialize, Serialize)]
struct StandbyNames {
    names: String,
}

pub(super) async fn run(ctx: &CheckContext<'_>) -> Vec<Finding> {
    let began = Instant::now();
    let (source, target) = (Place::source(ctx), Place::target(ctx));
    let (on_source, on_target) = futures_util::join!(
        source.ask_one::<StandbyNames>(STANDBY_NAMES),
        target.ask_one::<StandbyNames>(STANDBY_NAMES),
    );
    let on_source = on_source.map(|setting| judge_source(source.server, &setting));
    let on_target = on_target.map(|setting| judge_target(target.server, &setting));
    vec![
        SYNCHRONOUS.finding(ctx, source.location(), began, on_source),
        SYNCHRONOUS.finding(ctx, target.location(), began, on_target),
    ]
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

/// It goes on to work until the switch; what changes is said beforehand.
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
    use crate::checks::check::Judged;

    #[test]
    fn an_empty_setting_passes_and_a_set_one_blocks_on_the_target_only() {
        let names = |names: &str| StandbyNames {
            names: names.to_owned(),
        };
        assert_eq!(judge_target("green", &names("")).result, Judged::Pass);
        assert_eq!(judge_source("blue", &names(" ")).result, Judged::Pass);
        let judgement = judge_target("green", &names("FIRST 1 (a)"));
        assert_eq!(judgement.result, Judged::Fail);
        assert!(judgement.says.contains("'FIRST 1 (a)'"), "{judgement:?}");
        assert_eq!(judge_source("blue", &names("a")).result, Judged::Warn);
    }
}
