//! What a physical copy multiplies, empties or leaves open on the source.

use serde::{Deserialize, Serialize};

use super::{
    CheckContext, Finding,
    check::{Check, Judgement, count},
    place::Place,
};

pub(super) const SUBSCRIPTIONS: Check = Check::block("C30", "source.subscriptions");
pub(super) const UNLOGGED_TABLES: Check = Check::block("C33", "source.unlogged-tables");
pub(super) const PREPARED_TRANSACTIONS: Check = Check::block("C37", "source.prepared-transactions");

/// The reverse stream's own subscription is no finding.
const FOREIGN_SUBSCRIPTIONS: &str = "
SELECT s.subname::text AS subname, d.datname::text AS datname, s.subenabled, s.subslotname::text AS subslotname, s.subpublications
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE s.subname !~ '^pointsman_'
ORDER BY 2, 1";

const UNLOGGED: &str = "
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, pg_size_pretty(pg_relation_size(c.oid)) AS size
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence = 'u' AND c.relkind IN ('r','S')
  AND n.nspname !~ '^(pg_|information_schema$)'
ORDER BY 1, 2";

const PREPARED: &str = "
SELECT gid, owner::text AS owner, database::text AS database, round(extract(epoch FROM now() - prepared))::bigint AS age_s
FROM pg_prepared_xacts ORDER BY prepared";

#[derive(Debug, Deserialize, Serialize)]
struct Subscription {
    subname: String,
    datname: String,
    subenabled: bool,
    subslotname: Option<String>,
    subpublications: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Unlogged {
    schema: String,
    name: String,
    kind: String,
    size: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Prepared {
    gid: String,
    owner: String,
    database: String,
    age_s: i64,
}

pub(super) async fn on_server(ctx: &CheckContext<'_>) -> Vec<Finding> {
    let place = Place::source(ctx);
    let (subscriptions, prepared) = futures_util::join!(
        place.check(
            ctx,
            SUBSCRIPTIONS,
            FOREIGN_SUBSCRIPTIONS,
            judge_subscriptions
        ),
        place.check(ctx, PREPARED_TRANSACTIONS, PREPARED, judge_prepared),
    );
    vec![subscriptions, prepared]
}

pub(super) async fn unlogged_tables(ctx: &CheckContext<'_>, datname: &str) -> Finding {
    Place::source(ctx)
        .database(datname)
        .check(ctx, UNLOGGED_TABLES, UNLOGGED, |rows| {
            judge_unlogged(datname, &rows)
        })
        .await
}

fn judge_subscriptions(rows: Vec<Subscription>) -> Judgement {
    let Some(first) = rows.first() else {
        return Judgement::pass("no database subscribes to another server");
    };
    let others = match rows.len() {
        1 => String::new(),
        n => format!(" (and {} more)", count(n - 1, "subscription")),
    };
    Judgement::fail(
        format!(
            "database {} subscribes by {}{others}; the copy comes up enabled, and after promotion \
             both servers would pull from the same slot",
            first.datname, first.subname
        ),
        format!(
            "drop it in {} before the switch (DROP SUBSCRIPTION {}), and where it is needed make \
             it anew on the target afterwards",
            first.datname, first.subname
        ),
    )
    .with(&rows)
}

fn judge_unlogged(datname: &str, rows: &[Unlogged]) -> Judgement {
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

fn judge_prepared(rows: Vec<Prepared>) -> Judgement {
    let Some(oldest) = rows.first() else {
        return Judgement::pass("no prepared transaction");
    };
    Judgement::fail(
        format!(
            "{}; {} of {} in {} is {} s old: no fence stops its COMMIT, and each server would end \
             its own copy of it",
            count(rows.len(), "prepared transaction"),
            oldest.gid,
            oldest.owner,
            oldest.database,
            oldest.age_s
        ),
        format!(
            "ask its coordinator to finish it (COMMIT PREPARED '{0}' or ROLLBACK PREPARED '{0}' in \
             database {1}) and to stay away during the switch",
            oldest.gid, oldest.database
        ),
    )
    .with(&rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checks::check::{Judged, rows};

    #[test]
    fn nothing_found_passes() {
        assert_eq!(judge_subscriptions(Vec::new()).result, Judged::Pass);
        assert_eq!(judge_unlogged("orders", &[]).result, Judged::Pass);
        assert_eq!(judge_prepared(Vec::new()).result, Judged::Pass);
    }

    #[test]
    fn a_subscription_is_named_with_its_database() {
        let judgement = judge_subscriptions(rows(json!([{
            "subname": "feed", "datname": "orders", "subenabled": false, "subslotname": null,
            "subpublications": ["x"]
        }])));
        assert_eq!(judgement.result, Judged::Fail);
        assert!(
            judgement.says.contains("orders subscribes by feed"),
            "{judgement:?}"
        );
    }

    #[test]
    fn unlogged_tables_are_counted_and_each_is_evidence() {
        let judgement = judge_unlogged(
            "orders",
            &rows(json!([
                {"schema": "public", "name": "cache", "kind": "r", "size": "8192 bytes"},
                {"schema": "public", "name": "cache_id_seq", "kind": "S", "size": "8192 bytes"}
            ])),
        );
        assert_eq!(judgement.result, Judged::Fail);
        assert!(
            judgement
                .says
                .starts_with("2 unlogged relations of orders (first: public.cache"),
            "{judgement:?}"
        );
        assert_eq!(judgement.evidence.len(), 2);
    }

    #[test]
    fn a_prepared_transaction_is_named_with_owner_and_age() {
        let judgement = judge_prepared(rows(json!([
            {"gid": "g1", "owner": "app", "database": "orders", "age_s": 71}
        ])));
        assert_eq!(judgement.result, Judged::Fail);
        assert!(
            judgement.says.contains("g1 of app in orders is 71 s old"),
            "{judgement:?}"
        );
    }
}
