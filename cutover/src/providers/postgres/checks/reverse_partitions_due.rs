//! Range partitions that somebody must make while the switch is being watched.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct PartitionsDue;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("C60", "reverse.partitions-due");

/// Bounds are read as text, by their first column.
const RANGES: &str = "
SELECT p.partrelid::regclass::text AS parent, count(*) AS partitions,
       max((regexp_match(b.bound, 'TO \\(''([^'']+)'''))[1]) AS last_upper_bound,
       bool_or(b.bound = 'DEFAULT') AS has_default,
       bool_or(b.bound LIKE '%TO (MAXVALUE%') AS unbounded,
       max(format_type(a.atttypid, NULL)) AS key_type
FROM pg_partitioned_table p
JOIN pg_inherits i ON i.inhparent = p.partrelid
JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS b(bound)
LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0] AND a.attnum > 0
WHERE p.partstrat = 'r'
GROUP BY 1
ORDER BY 1";

#[derive(Debug, Deserialize, Serialize)]
struct Range {
    parent: String,
    partitions: i64,
    last_upper_bound: Option<String>,
    has_default: bool,
    unbounded: bool,
    /// `None` where the key is an expression.
    key_type: Option<String>,
}

/// When the next partition of a parent is needed.
#[derive(Debug, Eq, PartialEq)]
enum Due {
    Never,
    On(Date),
    /// A key of time whose bound does not read as a date.
    Unreadable,
}

#[async_trait]
impl Check for PartitionsDue {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let place = Place::source(ctx).database(datname);
        let judgement = match covered_through(ctx.clock.now(), ctx.bake) {
            Some(end) => place
                .ask(RANGES)
                .await
                .and_then(|rows| judge(datname, &rows, end)),
            None => Err("the end of the bake is beyond the calendar".to_owned()),
        };
        vec![place.finding(SPEC, began, judgement)]
    }
}

/// The day up to which partitions must exist: a day after the bake, in UTC.
fn covered_through(now: UnixMillis, bake: Duration) -> Option<Date> {
    let end = now.plus(bake).plus(MARGIN);
    let timestamp = Timestamp::from_millisecond(i64::try_from(end.0).ok()?).ok()?;
    Some(timestamp.to_zoned(TimeZone::UTC).date())
}

fn judge(datname: &str, rows: &[Range], end: Date) -> Result<Judgement, String> {
    if let Some(row) = rows.iter().find(|row| row.due() == Due::Unreadable) {
        return Err(format!(
            "the upper bound {} of {} in {datname} does not read as a date",
            row.last_upper_bound.as_deref().unwrap_or("?"),
            row.parent
        ));
    }
    let due: Vec<_> = rows
        .iter()
        .filter_map(|row| match row.due() {
            Due::On(day) if day < end => Some((row, day)),
            Due::On(_) | Due::Never | Due::Unreadable => None,
        })
        .collect();
    // Rows without a partition of their own fail where there is no default one.
    let first = due.iter().find(|(row, _)| !row.has_default);
    let Some((row, day)) = first.or_else(|| due.first()) else {
        return Ok(
            Judgement::pass(format!("no partition of {datname} is due before {end}")).with(rows),
        );
    };
    let message = format!(
        "{} of {datname} due by {end} (first: {}, whose last partition ends at {day}); a table made \
         during the bake is missing on the old server",
        count(due.len(), "partition"),
        row.parent
    );
    let remedy = format!("make partitions up to {end} now, on the source");
    let judgement = if row.has_default {
        Judgement::warn(message, remedy)
    } else {
        Judgement::fail(message, remedy)
    };
    Ok(judgement.with(rows))
}

impl Range {
    fn due(&self) -> Due {
        let timely = self
            .key_type
            .as_deref()
            .is_some_and(|key| key == "date" || key.starts_with("timestamp"));
        let Some(bound) = &self.last_upper_bound else {
            return Due::Never;
        };
        if self.unbounded || bound == "infinity" {
            return Due::Never;
        }
        match bound.get(..10).and_then(|day| day.parse().ok()) {
            Some(day) => Due::On(day),
            None if timely => Due::Unreadable,
            None => Due::Never,
        }
    }
}

const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    fn judged(change: Value) -> Result<Judgement, String> {
        let mut row = json!({
            "parent": "public.events", "partitions": 2, "last_upper_bound": "2026-12-01",
            "has_default": false, "unbounded": false, "key_type": "date"
        });
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        judge("orders", &rows(json!([row])), Date::constant(2026, 11, 25))
    }

    #[test]
    fn partitions_that_reach_past_the_bake_pass() {
        assert_eq!(judged(json!({})).unwrap().grade, Grade::Pass);
        assert_eq!(
            judged(json!({"last_upper_bound": "2026-11-25 00:00:00+00",
                          "key_type": "timestamp with time zone"}))
            .unwrap()
            .grade,
            Grade::Pass
        );
    }

    #[test]
    fn a_partition_that_is_due_within_the_bake_fails() {
        let judgement = judged(json!({"last_upper_bound": "2026-11-24 12:00:00"})).unwrap();
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.message.contains("public.events"), "{judgement:?}");
    }

    #[test]
    fn a_default_partition_takes_the_edge_off() {
        let judgement =
            judged(json!({"last_upper_bound": "2026-11-01", "has_default": true})).unwrap();
        assert_eq!(judgement.grade, Grade::Warn);
    }

    #[test]
    fn numbers_open_ends_and_infinity_are_never_due() {
        for change in [
            json!({"last_upper_bound": "1000", "key_type": "bigint"}),
            json!({"last_upper_bound": "2020-01-01", "unbounded": true}),
            json!({"last_upper_bound": "infinity"}),
            json!({"last_upper_bound": null}),
        ] {
            assert_eq!(judged(change).unwrap().grade, Grade::Pass);
        }
    }

    #[test]
    fn a_bound_in_another_date_style_is_unknown_not_a_pass() {
        assert!(judged(json!({"last_upper_bound": "01.12.2026"})).is_err());
    }

    #[test]
    fn the_bake_is_covered_with_a_day_to_spare() {
        let noon = UnixMillis(1_763_726_400_000);
        assert_eq!(
            covered_through(noon, Duration::from_secs(36 * 60 * 60)),
            Some(Date::constant(2025, 11, 24))
        );
    }
}
