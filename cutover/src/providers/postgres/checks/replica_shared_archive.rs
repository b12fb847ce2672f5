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
    let both = archives(on_source) && archives(on_target);
    if !both || on_source.way.trim() != on_target.way.trim() {
        return Judgement::pass(format!("{from} and {to} do not archive WAL to one place"));
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

    fn judged(source: (&str, &str), target: (&str, &str), waived: bool) -> Grade {
        let archive = |(mode, way): (&str, &str)| Archive {
            mode: mode.to_owned(),
            way: way.to_owned(),
        };
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
    fn a_server_that_archives_elsewhere_or_nowhere_passes() {
        let one = ("on", "cp %p /archive/%f");
        assert_eq!(judged(one, ("on", "cp %p /green/%f"), false), Grade::Pass);
        assert_eq!(judged(one, ("off", one.1), false), Grade::Pass);
        assert_eq!(judged(("on", ""), ("on", ""), false), Grade::Pass);
    }
}
