//! The publication that the reverse stream rests on.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, Moment};

#[derive(Debug)]
pub(super) struct WayBackReady;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("C85", "process.way-back-ready");

const REVERSE_PUBLICATION: &str = "
SELECT pubname::text AS pubname, puballtables AS all_tables, pubviaroot AS via_root,
       pubinsert AND pubupdate AND pubdelete AND pubtruncate AS publishes_all
FROM pg_publication WHERE pubname = 'pointsman_rb'";

#[derive(Debug, Deserialize, Serialize)]
struct ReversePublication {
    pubname: String,
    all_tables: bool,
    via_root: bool,
    publishes_all: bool,
}

#[async_trait]
impl Check for WayBackReady {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        vec![
            place
                .check(SPEC, REVERSE_PUBLICATION, |rows| {
                    judge(datname, rows, ctx.moment)
                })
                .await,
        ]
    }
}

/// The publication need not exist before `start`; afterwards the reverse slots need it.
fn judge(datname: &str, rows: &[ReversePublication], moment: Moment) -> Judgement {
    let reason = match (rows.first(), moment) {
        (None, Moment::Pre) => {
            return Judgement::pass(format!(
                "{datname} has no publication pointsman_rb yet; starting the migration makes it"
            ));
        }
        (None, Moment::Switch) => "is missing",
        (Some(row), _) if !row.all_tables => "is not FOR ALL TABLES",
        (Some(row), _) if !row.via_root => "is not made with publish_via_partition_root",
        (Some(row), _) if !row.publishes_all => {
            "does not publish all of insert, update, delete and truncate"
        }
        (Some(_), _) => {
            return Judgement::pass(format!(
                "publication pointsman_rb of {datname} carries every table"
            ))
            .with(rows);
        }
    };
    Judgement::fail(
        format!(
            "publication pointsman_rb of {datname} {reason}: there would be no lossless way back"
        ),
        "drop it, and start the migration (again), which makes it: CREATE PUBLICATION pointsman_rb \
         FOR ALL TABLES WITH (publish_via_partition_root = true)",
    )
    .with(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    #[test]
    fn the_publication_must_exist_from_arming_on_and_always_be_whole() {
        let result = |rows: &[ReversePublication], moment| judge("orders", rows, moment).grade;
        let whole = json!(
            [{"pubname": "pointsman_rb", "all_tables": true, "via_root": true, "publishes_all": true}]
        );
        assert_eq!(result(&[], Moment::Pre), Grade::Pass);
        assert_eq!(result(&[], Moment::Switch), Grade::Fail);
        assert_eq!(result(&rows(whole.clone()), Moment::Switch), Grade::Pass);
        for part in ["all_tables", "via_root", "publishes_all"] {
            let mut partial = whole.clone();
            partial[0][part] = json!(false);
            assert_eq!(result(&rows(partial), Moment::Pre), Grade::Fail, "{part}");
        }
    }
}
