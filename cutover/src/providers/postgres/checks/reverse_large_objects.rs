//! Large objects, which no logical stream carries.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct LargeObjects;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("C57", "reverse.large-objects");

/// A physical copy has them, a logical stream never carries them.
const LARGE: &str = "
SELECT count(*) AS large_objects, pg_size_pretty(pg_total_relation_size('pg_largeobject')) AS size
FROM pg_largeobject_metadata
HAVING count(*) > 0";

#[derive(Debug, Deserialize, Serialize)]
struct Total {
    large_objects: i64,
    size: Option<String>,
}

#[async_trait]
impl Check for LargeObjects {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        vec![place.check(SPEC, LARGE, |rows| judge(datname, rows)).await]
    }
}

fn judge(datname: &str, rows: &[Total]) -> Judgement {
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
        "move them to bytea or to object storage",
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
    fn large_objects_are_counted() {
        let judgement = judge(
            "orders",
            &rows(json!([{"large_objects": 3, "size": "24 kB"}])),
        );
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement.message.contains("3 large objects (24 kB)"),
            "{judgement:?}"
        );
    }
}
