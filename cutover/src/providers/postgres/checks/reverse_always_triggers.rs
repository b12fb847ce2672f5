//! Triggers and rules that also fire in the apply worker of the reverse stream.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct AlwaysTriggers;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("C63", "reverse.always-triggers");

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

#[derive(Debug, Deserialize, Serialize)]
struct Always {
    kind: String,
    on_table: String,
    name: String,
    enabled: String,
}

#[async_trait]
impl Check for AlwaysTriggers {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        vec![place.check(SPEC, ALWAYS, |rows| judge(datname, rows)).await]
    }
}

fn judge(datname: &str, rows: &[Always]) -> Judgement {
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
    fn each_kind_of_always_trigger_is_told_its_own_cure() {
        for (kind, cure) in [
            ("trigger", "ALTER TABLE public.a ENABLE TRIGGER t"),
            ("rule", "ALTER TABLE public.a ENABLE RULE t"),
            ("event trigger", "ALTER EVENT TRIGGER t ENABLE"),
        ] {
            let judgement = judge(
                "orders",
                &rows(json!([
                    {"kind": kind, "on_table": "public.a", "name": "t", "enabled": "A"}
                ])),
            );
            assert_eq!(judgement.grade, Grade::Fail);
            assert!(judgement.remedy.starts_with(cure), "{judgement:?}");
        }
    }
}
