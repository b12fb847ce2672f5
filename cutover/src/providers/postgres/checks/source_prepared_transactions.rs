//! Prepared transactions of the source, which no fence stops.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct PreparedTransactions;

const SPEC: CheckSpec = CheckSpec::block("C37", "source.prepared-transactions");

const PREPARED: &str = "
SELECT gid, owner::text AS owner, database::text AS database, round(extract(epoch FROM now() - prepared))::bigint AS age_s
FROM pg_prepared_xacts ORDER BY prepared";

#[derive(Debug, Deserialize, Serialize)]
struct Prepared {
    gid: String,
    owner: String,
    database: String,
    age_s: i64,
}

#[async_trait]
impl Check for PreparedTransactions {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        vec![Place::source(ctx).check(SPEC, PREPARED, judge).await]
    }
}

fn judge(rows: &[Prepared]) -> Judgement {
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
    fn a_prepared_transaction_is_named_with_owner_and_age() {
        let judgement = judge(&rows(json!([
            {"gid": "g1", "owner": "app", "database": "orders", "age_s": 71}
        ])));
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement
                .message
                .contains("g1 of app in orders is 71 s old"),
            "{judgement:?}"
        );
    }
}
