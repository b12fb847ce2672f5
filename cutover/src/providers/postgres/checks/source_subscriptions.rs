//! Subscriptions of the source, which a physical copy doubles.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct Subscriptions;

const SPEC: CheckSpec = CheckSpec::block("C30", "source.subscriptions");

/// The reverse stream's own subscription is no finding.
const FOREIGN_SUBSCRIPTIONS: &str = "
SELECT s.subname::text AS subname, d.datname::text AS datname, s.subenabled, s.subslotname::text AS subslotname, s.subpublications
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
WHERE s.subname !~ '^pointsman_'
ORDER BY 2, 1";

#[derive(Debug, Deserialize, Serialize)]
struct Subscription {
    subname: String,
    datname: String,
    subenabled: bool,
    subslotname: Option<String>,
    subpublications: Vec<String>,
}

#[async_trait]
impl Check for Subscriptions {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        vec![
            Place::source(ctx)
                .check(SPEC, FOREIGN_SUBSCRIPTIONS, judge)
                .await,
        ]
    }
}

fn judge(rows: &[Subscription]) -> Judgement {
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
    .with(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    #[test]
    fn nothing_found_passes() {
        assert_eq!(judge(&[]).grade, Grade::Pass);
    }

    #[test]
    fn a_subscription_is_named_with_its_database() {
        let judgement = judge(&rows(json!([{
            "subname": "feed", "datname": "orders", "subenabled": false, "subslotname": null,
            "subpublications": ["x"]
        }])));
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement.message.contains("orders subscribes by feed"),
            "{judgement:?}"
        );
    }
}
