//! Two servers that archive their WAL to one place.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct SharedArchive;

const SPEC: CheckSpec = CheckSpec::block("S11", "replica.shared-archive");

/// From 15 on a library archives where one is set, and no command.
const ARCHIVE: &str = "SELECT current_setting('archive_mode') AS mode, \
       coalesce(nullif(current_setting('archive_library', true), ''), \
         current_setting('archive_command')) AS \"way\"";

#[derive(Debug, Deserialize, Serialize)]
struct Archive {
    mode: String,
    way: String,
}

#[async_trait]
impl Check for SharedArchive {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let (source, target) = (Place::source(ctx), Place::target(ctx));
        let (on_source, on_target) = futures_util::join!(
            source.ask_one::<Archive>(ARCHIVE),
            target.ask_one::<Archive>(ARCHIVE),
        );
        let waived = ctx.waives("S11", None);
        let judgement = on_source.and_then(|on_source| {
            let on_target = on_target?;
            Ok(judge(
                (source.name(), &on_source),
                (target.name(), &on_target),
                waived,
            ))
        });
        vec![target.finding(SPEC, began, judgement)]
    }
}

/// Whether two texts mean one place is not told by the texts: equal ones are a suspicion.
fn judge(source: (&str, &Archive), target: (&str, &Archive), waived: bool) -> Judgement {
    let ((from, on_source), (to, on_target)) = (source, target);
    let archives = |archive: &Archive| archive.mode != "off" && !archive.way.trim().is_empty();
    if !(archives(on_source) && archives(on_target)) {
        return Judgement::pass(format!("{from} and {to} do not archive WAL to one place"));
    }
    if on_source.way.trim() != on_target.way.trim() {
        let message = format!(
            "{from} and {to} both archive WAL, by different texts ('{}' and '{}'): whether they lead to one \
             place is unknown",
            on_source.way, on_target.way
        );
        let remedy = format!("see that {to} has an archive of its own");
        return Judgement::warn(message, remedy).with(&[on_source, on_target]);
    }
    let message = format!(
        "{from} and {to} archive WAL in the same way ('{}'): once {to} is promoted, whoever restores from \
         that archive may follow the timeline that was left, or finds a history that is none of its own",
        on_target.way
    );
    let remedy = format!(
        "give {to} an archive of its own. Where the same text leads to different places, create the migration \
         with --waive S11; where it does not, standbys and rebuilds need recovery_target_timeline = 'current' \
         until the old timeline is gone from the archive"
    );
    let judgement = match waived {
        true => Judgement::warn(format!("{message}; waived"), remedy),
        false => Judgement::fail(message, remedy),
    };
    judgement.with(&[on_source, on_target])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn archive((mode, way): (&str, &str)) -> Archive {
        Archive {
            mode: mode.to_owned(),
            way: way.to_owned(),
        }
    }

    fn judged(source: (&str, &str), target: (&str, &str), waived: bool) -> Grade {
        let (source, target) = (archive(source), archive(target));
        judge(("blue", &source), ("green", &target), waived).grade
    }

    #[test]
    fn one_archive_for_both_blocks_unless_it_is_waived_by_name() {
        let shared = ("on", "cp %p /archive/%f");
        assert_eq!(judged(shared, shared, false), Grade::Fail);
        assert_eq!(judged(shared, shared, true), Grade::Warn);
        assert_eq!(judged(shared, ("always", shared.1), false), Grade::Fail);
    }

    #[test]
    fn s11_whether_different_texts_lead_to_one_place_is_said_to_be_unknown() {
        let one = archive(("on", "cp %p /archive/%f"));
        let other = archive(("on", "cp %p /mnt/archive/%f"));
        let judgement = judge(("blue", &one), ("green", &other), false);
        assert_eq!(judgement.grade, Grade::Warn);
        assert!(judgement.message.ends_with("is unknown"), "{judgement:?}");
        assert!(judgement.message.contains("/mnt/archive/"), "{judgement:?}");
    }

    #[test]
    fn where_one_archives_nowhere_there_is_nothing_to_share() {
        let one = ("on", "cp %p /archive/%f");
        assert_eq!(judged(one, ("off", one.1), false), Grade::Pass);
        assert_eq!(judged(("on", ""), ("on", ""), false), Grade::Pass);
    }
}
