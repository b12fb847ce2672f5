//! What must hold so that the target can feed the source after the switch.

use serde::{Deserialize, Serialize};

use super::{
    CheckContext, Finding, Moment,
    check::{Check, Judgement, count},
    place::Place,
};

pub(super) const WAL_LEVEL: Check = Check::lossless("C55", "reverse.wal-level");
pub(super) const REPLICA_IDENTITY: Check = Check::lossless("C56", "reverse.replica-identity");
pub(super) const LARGE_OBJECTS: Check = Check::lossless("C57", "reverse.large-objects");
pub(super) const ALWAYS_TRIGGERS: Check = Check::lossless("C63", "reverse.always-triggers");
pub(super) const PUBLICATION: Check = Check::lossless("C85", "process.way-back-ready");

const LEVEL: &str = "
SELECT current_setting('wal_level') AS wal_level, pg_is_in_recovery() AS in_recovery";

/// Leaves only: the identity of a partitioned parent is neither used nor inherited. A
/// deferrable primary key and `UNIQUE NOT NULL` without a primary key do not count:
/// PostgreSQL docs, "Logical Replication", "Publication".
const UNIDENTIFIED: &str = "
SELECT c.oid::regclass::text AS table_name,
       CASE c.relreplident WHEN 'n' THEN 'nothing' WHEN 'i' THEN 'index (missing or unusable)' ELSE 'no usable primary key' END AS identity,
       coalesce(s.n_tup_upd + s.n_tup_del, 0) AS updates_and_deletes,
       (SELECT i.indexrelid::regclass::text FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
          AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey::int2[]) AS k(att)
                          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.att WHERE NOT a.attnotnull)
        LIMIT 1) AS usable_index
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^(pg_|information_schema$)'
  AND (c.relreplident = 'n'
    OR (c.relreplident = 'd' AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid
                                              AND i.indisprimary AND i.indimmediate AND i.indisvalid))
    OR (c.relreplident = 'i' AND NOT EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid
                                              AND i.indisreplident AND i.indimmediate AND i.indisvalid)))
ORDER BY 3 DESC, 1";

/// A physical copy has them, a logical stream never carries them.
const LARGE: &str = "
SELECT count(*) AS large_objects, pg_size_pretty(pg_total_relation_size('pg_largeobject')) AS size
FROM pg_largeobject_metadata
HAVING count(*) > 0";

/// What fires in an apply worker as well.
const ALWAYS: &str = "
SELECT 'trigger' AS kind, t.tgrelid::regclass::text AS on_table, t.tgname::text AS name, t.tgenabled::text AS enabled
FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled IN ('A','R')
UNION ALL
SELECT 'rule', r.ev_class::regclass::text, r.rulename::text, r.ev_enabled::text
FROM pg_rewrite r WHERE r.ev_enabled IN ('A','R')
UNION ALL
SELECT 'event trigger', e.evtevent::text, e.evtname::text, e.evtenabled::text
FROM pg_event_trigger e WHERE e.evtenabled IN ('A','R')
ORDER BY 1, 2, 3";

const REVERSE_PUBLICATION: &str = "
SELECT pubname::text AS pubname, puballtables AS all_tables, pubviaroot AS via_root,
       pubinsert AND pubupdate AND pubdelete AND pubtruncate AS publishes_all
FROM pg_publication WHERE pubname = 'pointsman_rb'";

#[derive(Debug, Deserialize, Serialize)]
struct Level {
    wal_level: String,
    in_recovery: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Unidentified {
    table_name: String,
    identity: String,
    updates_and_deletes: i64,
    usable_index: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct LargeObjects {
    large_objects: i64,
    size: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Always {
    kind: String,
    on_table: String,
    name: String,
    enabled: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct ReversePublication {
    pubname: String,
    all_tables: bool,
    via_root: bool,
    publishes_all: bool,
}

/// The subscriber, here the source, needs no logical WAL.
pub(super) async fn on_server(ctx: &CheckContext<'_>) -> Vec<Finding> {
    let place = Place::target(ctx);
    let judge = |rows: Vec<Level>| judge_level(place.server, &rows);
    vec![place.check(ctx, WAL_LEVEL, LEVEL, judge).await]
}

pub(super) async fn in_database(ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
    let place = Place::source(ctx).database(datname);
    vec![
        place
            .check(ctx, REPLICA_IDENTITY, UNIDENTIFIED, |rows| {
                judge_identity(datname, &rows)
            })
            .await,
        place
            .check(ctx, LARGE_OBJECTS, LARGE, |rows| {
                judge_large_objects(datname, &rows)
            })
            .await,
        place
            .check(ctx, ALWAYS_TRIGGERS, ALWAYS, |rows| {
                judge_always(datname, &rows)
            })
            .await,
        place
            .check(ctx, PUBLICATION, REVERSE_PUBLICATION, |rows| {
                judge_publication(datname, &rows, ctx.moment)
            })
            .await,
    ]
}

fn judge_level(server: &str, rows: &[Level]) -> Judgement {
    let judgement = match rows.first().map(|row| row.wal_level.as_str()) {
        Some("logical") => Judgement::pass(format!("{server} writes WAL at level logical")),
        level => Judgement::fail(
            format!(
                "{server} writes WAL at level {}: it could not feed the source after the switch",
                level.unwrap_or("?")
            ),
            format!(
                "set wal_level = logical on {server} (on RDS and Aurora: rds.logical_replication = \
                 1) and restart it"
            ),
        ),
    };
    judgement.with(rows)
}

fn judge_identity(datname: &str, rows: &[Unidentified]) -> Judgement {
    let Some(first) = rows.first() else {
        return Judgement::pass(format!("every table of {datname} has a replica identity"));
    };
    let table = &first.table_name;
    let index = match &first.usable_index {
        Some(index) => format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index}"),
        None => format!("as a last resort ALTER TABLE {table} REPLICA IDENTITY FULL"),
    };
    Judgement::fail(
        format!(
            "{} of {datname} without a usable replica identity (first: {table}, {}); once the \
             reverse publication exists, UPDATE and DELETE on them fail in production",
            count(rows.len(), "table"),
            first.identity
        ),
        format!(
            "add a primary key; else {index}; or give up the lossless way back (--accept-loss)"
        ),
    )
    .with(rows)
}

fn judge_large_objects(datname: &str, rows: &[LargeObjects]) -> Judgement {
    let Some(found) = rows.first() else {
        return Judgement::pass(format!("{datname} holds no large object"));
    };
    Judgement::fail(
        format!(
            "{datname} holds {} ({}); what is written to them after the switch does \
             not come back with a rollback",
            count(
                usize::try_from(found.large_objects).unwrap_or(usize::MAX),
                "large object"
            ),
            found.size.as_deref().unwrap_or("size unknown")
        ),
        "move them to bytea or to object storage, or give up the lossless way back (--accept-loss)",
    )
    .with(rows)
}

fn judge_always(datname: &str, rows: &[Always]) -> Judgement {
    let Some(first) = rows.first() else {
        return Judgement::pass(format!(
            "no trigger or rule of {datname} fires in an apply worker"
        ));
    };
    let (kind, name, table) = (&first.kind, &first.name, &first.on_table);
    let others = match rows.len() {
        1 => String::new(),
        n => format!(" ({} more like it)", n - 1),
    };
    let mode = if first.enabled == "A" {
        "ALWAYS"
    } else {
        "REPLICA"
    };
    let fix = match kind.as_str() {
        "trigger" => format!("ALTER TABLE {table} ENABLE TRIGGER {name}"),
        "rule" => format!("ALTER TABLE {table} ENABLE RULE {name}"),
        _ => format!("ALTER EVENT TRIGGER {name} ENABLE"),
    };
    Judgement::fail(
        format!(
            "{kind} {name} on {table} of {datname} is ENABLE {mode}{others} and would fire again in \
             the old server's apply worker, with an empty search_path: its effect comes twice, or \
             the stream stops"
        ),
        format!("{fix} (plainly enabled ones do not fire there)"),
    )
    .with(rows)
}

/// Before the start it need not exist; afterwards the reverse slots rest on it.
fn judge_publication(datname: &str, rows: &[ReversePublication], moment: Moment) -> Judgement {
    let reason = match (rows.first(), moment) {
        (None, Moment::Pre) => {
            return Judgement::pass(format!(
                "{datname} has no publication pointsman_rb yet; starting the migration makes it"
            ));
        }
        (None, Moment::Arm | Moment::Switch) => "is missing",
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
    use crate::checks::check::{Judged, rows};

    #[test]
    fn nothing_found_passes() {
        assert_eq!(judge_identity("orders", &[]).result, Judged::Pass);
        assert_eq!(judge_large_objects("orders", &[]).result, Judged::Pass);
        assert_eq!(judge_always("orders", &[]).result, Judged::Pass);
    }

    #[test]
    fn only_level_logical_passes() {
        let at = |level: &str| {
            let level: Vec<Level> = rows(json!([{"wal_level": level, "in_recovery": true}]));
            judge_level("green", &level).result
        };
        assert_eq!(at("logical"), Judged::Pass);
        assert_eq!(at("replica"), Judged::Fail);
        assert_eq!(judge_level("green", &[]).result, Judged::Fail);
    }

    #[test]
    fn a_table_without_identity_is_told_its_usable_index() {
        let judgement = judge_identity(
            "orders",
            &rows(json!([
                {"table_name": "public.a", "identity": "no usable primary key",
                 "updates_and_deletes": 9, "usable_index": "public.a_x"},
                {"table_name": "public.b", "identity": "nothing", "updates_and_deletes": 0,
                 "usable_index": null}
            ])),
        );
        assert_eq!(judgement.result, Judged::Fail);
        assert!(
            judgement.says.starts_with("2 tables of orders"),
            "{judgement:?}"
        );
        assert!(
            judgement
                .fix
                .contains("REPLICA IDENTITY USING INDEX public.a_x"),
            "{judgement:?}"
        );
    }

    #[test]
    fn large_objects_are_counted() {
        let judgement = judge_large_objects(
            "orders",
            &rows(json!([{"large_objects": 3, "size": "24 kB"}])),
        );
        assert_eq!(judgement.result, Judged::Fail);
        assert!(
            judgement.says.contains("3 large objects (24 kB)"),
            "{judgement:?}"
        );
    }

    #[test]
    fn each_kind_of_always_trigger_is_told_its_own_cure() {
        for (kind, cure) in [
            ("trigger", "ALTER TABLE public.a ENABLE TRIGGER t"),
            ("rule", "ALTER TABLE public.a ENABLE RULE t"),
            ("event trigger", "ALTER EVENT TRIGGER t ENABLE"),
        ] {
            let judgement = judge_always(
                "orders",
                &rows(json!([
                    {"kind": kind, "on_table": "public.a", "name": "t", "enabled": "A"}
                ])),
            );
            assert_eq!(judgement.result, Judged::Fail);
            assert!(judgement.fix.starts_with(cure), "{judgement:?}");
        }
    }

    #[test]
    fn the_publication_must_exist_from_arming_on_and_always_be_whole() {
        let result =
            |rows: &[ReversePublication], moment| judge_publication("orders", rows, moment).result;
        let whole = json!(
            [{"pubname": "pointsman_rb", "all_tables": true, "via_root": true, "publishes_all": true}]
        );
        assert_eq!(result(&[], Moment::Pre), Judged::Pass);
        assert_eq!(result(&[], Moment::Switch), Judged::Fail);
        assert_eq!(result(&rows(whole.clone()), Moment::Switch), Judged::Pass);
        for part in ["all_tables", "via_root", "publishes_all"] {
            let mut partial = whole.clone();
            partial[0][part] = json!(false);
            assert_eq!(result(&rows(partial), Moment::Pre), Judged::Fail, "{part}");
        }
    }
}
