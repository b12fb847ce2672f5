//! Unlogged relations of the source, which are empty on the target.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct UnloggedTables;

const SPEC: CheckSpec = CheckSpec::block("C33", "source.unlogged-tables");

const UNLOGGED: &str = "
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, pg_size_pretty(pg_relation_size(c.oid)) AS size
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'u' AND c.relkind IN ('r','S')
  AND n.nspname !~ '^(pg_|information_schema$)'
ORDER BY 1, 2";

#[derive(Debug, Deserialize, Serialize)]
struct Unlogged {
    schema: String,
    name: String,
    kind: String,
    size: Option<String>,
}

#[async_trait]
impl Check for UnloggedTables {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        vec![
            place
                .check(SPEC, UNLOGGED, |rows| judge(datname, rows))
                .await,
        ]
    }

    async fn in_closed_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        self.in_database(ctx, datname).await
    }
}

fn judge(datname: &str, rows: &[Unlogged]) -> Judgement {
    let Some(first) = rows.first() else {
        return Judgement::pass(format!("every table of {datname} is in the WAL"));
    };
    let size = first.size.as_deref().unwrap_or("size unknown");
    Judgement::fail(
        format!(
            "{} of {datname} (first: {}.{}, {size}) will be empty on the target: what is unlogged \
             is not copied",
            count(rows.len(), "unlogged relation"),
            first.schema,
            first.name
        ),
        format!(
            "ALTER TABLE {}.{} SET LOGGED (it rewrites the table under a lock), or drop it",
            first.schema, first.name
        ),
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
    fn unlogged_tables_are_counted_and_each_is_evidence() {
        let judgement = judge(
            "orders",
            &rows(json!([
                {"schema": "public", "name": "cache", "kind": "r", "size": "8192 bytes"},
                {"schema": "public", "name": "cache_id_seq", "kind": "S", "size": "8192 bytes"}
            ])),
        );
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement
                .message
                .starts_with("2 unlogged relations of orders (first: public.cache"),
            "{judgement:?}"
        );
        assert_eq!(judgement.evidence.len(), 2);
    }
}
