//! Whether the target writes the WAL that can feed the source after the switch.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct WalLevel;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("C55", "reverse.wal-level");

const LEVEL: &str = "
SELECT current_setting('wal_level') AS wal_level, pg_is_in_recovery() AS in_recovery";

#[derive(Debug, Deserialize, Serialize)]
struct Level {
    wal_level: String,
    in_recovery: bool,
}

#[async_trait]
impl Check for WalLevel {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    /// The subscriber, here the source, needs no logical WAL.
    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let place = Place::target(ctx);
        vec![
            place
                .check(SPEC, LEVEL, |rows| judge(place.name(), rows))
                .await,
        ]
    }
}

fn judge(server: &str, rows: &[Level]) -> Judgement {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    #[test]
    fn only_level_logical_passes() {
        let at = |level: &str| {
            let level: Vec<Level> = rows(json!([{"wal_level": level, "in_recovery": true}]));
            judge("green", &level).grade
        };
        assert_eq!(at("logical"), Grade::Pass);
        assert_eq!(at("replica"), Grade::Fail);
        assert_eq!(judge("green", &[]).grade, Grade::Fail);
    }
}
