//! The publication that the reverse stream rests on.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, Moment, count};

#[derive(Debug)]
pub(super) struct WayBackReady;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("C85", "process.way-back-ready");

/// The publication, if there is one, and the tables that neither it carries nor the control role
/// could add: only their owner may, and without a replica identity UPDATE would fail on them.
const REVERSE_PUBLICATION: &str = "
SELECT p.pubname::text AS pubname, coalesce(p.puballtables, r.rolsuper) AS all_tables, p.pubviaroot AS via_root,
       pg_get_userbyid(p.pubowner)::text AS owner, pg_has_role(p.pubowner, 'USAGE') AS owned,
       p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate AS publishes_all,
       ARRAY(SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE NOT coalesce(p.puballtables, r.rolsuper) AND c.relkind = 'r' AND c.relpersistence = 'p'
               AND n.nspname !~ '^(pg_|information_schema$)'
               AND NOT EXISTS (SELECT FROM pg_publication_tables t WHERE t.pubname = 'pointsman_rb'
                                AND t.schemaname = n.nspname AND t.tablename = c.relname)
               AND NOT (pg_has_role(c.relowner, 'USAGE')
                 AND (c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid
                   AND i.indimmediate AND CASE c.relreplident WHEN 'd' THEN i.indisprimary
                     WHEN 'i' THEN i.indisreplident ELSE false END)))
             ORDER BY 1) AS left_out
FROM pg_roles r LEFT JOIN pg_publication p ON p.pubname = 'pointsman_rb' WHERE r.rolname = current_user";

#[derive(Debug, Deserialize, Serialize)]
struct ReversePublication {
    /// `None` where there is none yet.
    pubname: Option<String>,
    /// Of one that is still to be made: whether the control role may publish all tables.
    all_tables: bool,
    via_root: Option<bool>,
    owner: Option<String>,
    owned: Option<bool>,
    publishes_all: Option<bool>,
    left_out: Vec<String>,
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
    let row = rows.first();
    if let Some(left_out) = row.filter(|row| !row.left_out.is_empty()) {
        return judge_left_out(datname, &left_out.left_out).with(rows);
    }
    let there = row.filter(|row| row.pubname.is_some());
    let reason = match (there, moment) {
        (None, Moment::Pre) => {
            return Judgement::pass(format!(
                "{datname} has no publication pointsman_rb yet; starting the migration makes it"
            ));
        }
        (None, Moment::Switch) => "is missing",
        (Some(row), _) if row.owned == Some(false) => {
            return belongs_to_another(datname, row).with(rows);
        }
        (Some(row), _) if row.all_tables && row.via_root != Some(true) => {
            "is not made with publish_via_partition_root"
        }
        (Some(row), _) if !row.all_tables && row.via_root != Some(false) => {
            "names its tables and is made with publish_via_partition_root"
        }
        (Some(row), _) if row.publishes_all != Some(true) => {
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
        remedy(there.is_some(), moment),
    )
    .with(rows)
}

/// Only its owner may complete it, and take it down.
fn belongs_to_another(datname: &str, row: &ReversePublication) -> Judgement {
    Judgement::fail(
        format!(
            "publication pointsman_rb of {datname} belongs to {}, and the control role can neither \
             complete it nor take it down",
            row.owner.as_deref().unwrap_or_default()
        ),
        format!(
            "in database {datname}, as its owner or a superuser: DROP PUBLICATION pointsman_rb; then \
             start the migration, which makes it"
        ),
    )
}

/// Only the start of a migration makes the publication, and a migration starts once.
fn remedy(is_there: bool, moment: Moment) -> &'static str {
    match (is_there, moment) {
        (true, Moment::Pre) => "drop it: the start of a migration makes it anew",
        (true, Moment::Switch) => {
            "drop it, and cancel this migration; create and start another one, which makes it anew"
        }
        (false, _) => "cancel this migration; create and start another one, which makes it",
    }
}

/// The reverse stream would run and leave these out.
fn judge_left_out(datname: &str, tables: &[String]) -> Judgement {
    let first = tables.first().map(String::as_str).unwrap_or_default();
    Judgement::fail(
        format!(
            "publication pointsman_rb cannot carry {} of {datname} (first: {first}): there would be \
             no lossless way back",
            count(tables.len(), "table"),
        ),
        "make the control role a member of the tables' owners, and give each table a primary key \
         or another replica identity; or use a superuser as the control role",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    fn result(rows: &[ReversePublication], moment: Moment) -> Grade {
        judge("orders", rows, moment).grade
    }

    #[test]
    fn the_publication_must_exist_from_arming_on_and_always_be_whole() {
        let whole = json!([{
            "pubname": "pointsman_rb", "all_tables": true, "via_root": true,
            "publishes_all": true, "left_out": []
        }]);
        let none: Vec<ReversePublication> = rows(json!([{
            "pubname": null, "all_tables": true, "via_root": null, "publishes_all": null,
            "left_out": []
        }]));
        assert_eq!(result(&none, Moment::Pre), Grade::Pass);
        let missing = judge("orders", &none, Moment::Switch);
        assert_eq!(missing.grade, Grade::Fail);
        assert!(!missing.remedy.contains("drop"), "{missing:?}");
        assert_eq!(result(&rows(whole.clone()), Moment::Switch), Grade::Pass);
        for part in ["all_tables", "via_root", "publishes_all"] {
            let mut partial = whole.clone();
            partial[0][part] = json!(false);
            assert_eq!(result(&rows(partial), Moment::Pre), Grade::Fail, "{part}");
        }
    }

    #[test]
    fn a_list_of_tables_passes_when_nothing_is_left_out() {
        let listed = |left_out: &[&str]| -> Vec<ReversePublication> {
            rows(json!([{
                "pubname": "pointsman_rb", "all_tables": false, "via_root": false,
                "publishes_all": true, "left_out": left_out
            }]))
        };
        assert_eq!(result(&listed(&[]), Moment::Switch), Grade::Pass);
        let judgement = judge("orders", &listed(&["public.t"]), Moment::Switch);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.message.contains("public.t"), "{judgement:?}");
    }
}
