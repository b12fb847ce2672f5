//! Tables whose rows the reverse stream could not tell apart.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct ReplicaIdentity;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("C56", "reverse.replica-identity");

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

#[derive(Debug, Deserialize, Serialize)]
struct Unidentified {
    table_name: String,
    identity: String,
    updates_and_deletes: i64,
    usable_index: Option<String>,
}

#[async_trait]
impl Check for ReplicaIdentity {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        vec![
            place
                .check(SPEC, UNIDENTIFIED, |rows| judge(datname, rows))
                .await,
        ]
    }
}

fn judge(datname: &str, rows: &[Unidentified]) -> Judgement {
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
        format!("add a primary key; else {index}"),
    )
    .with(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    #[test]
    fn nothing_found_passes() {
        assert_eq!(judge("orders", &[]).grade, Grade::Pass);
    }

    #[test]
    fn a_table_without_identity_is_told_its_usable_index() {
        let judgement = judge(
            "orders",
            &rows(json!([
                {"table_name": "public.a", "identity": "no usable primary key",
                 "updates_and_deletes": 9, "usable_index": "public.a_x"},
                {"table_name": "public.b", "identity": "nothing", "updates_and_deletes": 0,
                 "usable_index": null}
            ])),
        );
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement.message.starts_with("2 tables of orders"),
            "{judgement:?}"
        );
        assert!(
            judgement
                .remedy
                .contains("REPLICA IDENTITY USING INDEX public.a_x"),
            "{judgement:?}"
        );
    }
}
