//! Room for slots, walsenders and apply workers, on both servers.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct SlotAndWorkerRoom;

const SPEC: CheckSpec = CheckSpec::block("C32", "source.slot-and-worker-room");
/// The source as the later subscriber of the reverse stream.
const APPLY: CheckSpec = CheckSpec::block_for_way_back(SPEC.id, SPEC.slug);

/// Replication origins are limited by `max_replication_slots` up to PostgreSQL 17, and by
/// `max_active_replication_origins` from 18.
const LIMITS: &str = "
SELECT current_setting('max_replication_slots')::int AS max_slots,
       (SELECT count(*) FROM pg_replication_slots) AS used_slots,
       (SELECT count(*) FROM pg_replication_slots
        WHERE slot_type = 'logical' AND NOT temporary AND slot_name !~ '^pointsman_') AS consumer_slots,
       current_setting('max_wal_senders')::int AS max_senders,
       (SELECT count(*) FROM pg_stat_replication) AS used_senders,
       current_setting('max_logical_replication_workers')::int AS max_apply,
       current_setting('max_worker_processes')::int AS max_workers,
       current_setting('max_active_replication_origins', true)::int AS max_origins_18,
       (SELECT count(*) FROM pg_replication_origin) AS used_origins";

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Limits {
    max_slots: i64,
    used_slots: i64,
    consumer_slots: i64,
    max_senders: i64,
    used_senders: i64,
    max_apply: i64,
    max_workers: i64,
    max_origins_18: Option<i64>,
    used_origins: i64,
}

/// One thing of which there must be `need` more.
struct Need {
    noun: &'static str,
    setting: &'static str,
    have: i64,
    need: i64,
}

#[async_trait]
impl Check for SlotAndWorkerRoom {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let (on_source, on_target) = (Place::source(ctx), Place::target(ctx));
        let (source, target) = futures_util::join!(
            on_source.ask_one::<Limits>(LIMITS),
            on_target.ask_one::<Limits>(LIMITS),
        );
        let databases = i64::try_from(ctx.moving().len()).unwrap_or(i64::MAX);
        let standby = source.clone().map(|limits| {
            let needs = source_needs(&limits);
            judge(on_source.name(), &limits, &needs)
        });
        let publisher = consumers(&source).and_then(|consumers| {
            let limits = target?;
            let needs = publisher_needs(&limits, databases, consumers);
            Ok(judge(on_target.name(), &limits, &needs))
        });
        let subscriber = source.map(|limits| {
            let needs = subscriber_needs(&limits, databases);
            judge(on_source.name(), &limits, &needs)
        });
        vec![
            on_source.finding(SPEC, began, standby),
            on_target.finding(SPEC, began, publisher),
            on_source.finding(APPLY, began, subscriber),
        ]
    }
}

/// How many slots of consumers the target needs: only what the source's use now is known.
fn consumers(source: &Result<Limits, String>) -> Result<i64, String> {
    let limits = source.as_ref().map_err(|reason| {
        format!("how many consumers of changes the source has is not known: {reason}")
    })?;
    Ok(limits.consumer_slots)
}

/// The replica, and its restart while the old walsender still lingers.
fn source_needs(limits: &Limits) -> Vec<Need> {
    vec![
        Need {
            noun: "replication slots",
            setting: "max_replication_slots",
            have: limits.max_slots - limits.used_slots,
            need: 2,
        },
        Need {
            noun: "walsenders",
            setting: "max_wal_senders",
            have: limits.max_senders - limits.used_senders,
            need: 2,
        },
    ]
}

/// One reverse slot and stream per database, and one slot per consumer of changes.
fn publisher_needs(limits: &Limits, databases: i64, consumers: i64) -> Vec<Need> {
    vec![
        Need {
            noun: "replication slots",
            setting: "max_replication_slots",
            have: limits.max_slots - limits.used_slots,
            need: databases + consumers,
        },
        Need {
            noun: "walsenders",
            setting: "max_wal_senders",
            have: limits.max_senders - limits.used_senders,
            need: databases + consumers,
        },
    ]
}

/// An apply worker per database with one to spare, and background workers for them.
fn subscriber_needs(limits: &Limits, databases: i64) -> Vec<Need> {
    let (setting, max_origins) = match limits.max_origins_18 {
        Some(max) => ("max_active_replication_origins", max),
        None => ("max_replication_slots", limits.max_slots),
    };
    vec![
        Need {
            noun: "apply workers",
            setting: "max_logical_replication_workers",
            have: limits.max_apply,
            need: databases + 1,
        },
        Need {
            noun: "background workers",
            setting: "max_worker_processes",
            have: limits.max_workers,
            need: limits.max_apply + 4,
        },
        Need {
            noun: "replication origins",
            setting,
            have: max_origins - limits.used_origins,
            need: databases,
        },
    ]
}

fn judge(server: &str, limits: &Limits, needs: &[Need]) -> Judgement {
    let lacking = needs.iter().find(|need| need.have < need.need);
    let judgement = match lacking {
        Some(Need {
            noun,
            setting,
            have,
            need,
        }) => Judgement::fail(
            format!("{server} has room for {have} more {noun}, {need} are needed"),
            format!(
                "raise {setting} on {server} by {} and restart it",
                need - have
            ),
        ),
        None => {
            let listed: Vec<_> = needs
                .iter()
                .map(|need| format!("{} {}", need.have, need.noun))
                .collect();
            Judgement::pass(format!("{server} has room for {}", listed.join(", ")))
        }
    };
    judgement.with(&[limits])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    /// The defaults of PostgreSQL 15 with one standby on a slot.
    const DEFAULTS: Limits = Limits {
        max_slots: 10,
        used_slots: 1,
        consumer_slots: 0,
        max_senders: 10,
        used_senders: 1,
        max_apply: 4,
        max_workers: 8,
        max_origins_18: None,
        used_origins: 0,
    };

    #[test]
    fn the_defaults_have_room_for_two_databases() {
        for needs in [
            source_needs(&DEFAULTS),
            publisher_needs(&DEFAULTS, 2, 0),
            subscriber_needs(&DEFAULTS, 2),
        ] {
            assert_eq!(judge("blue", &DEFAULTS, &needs).grade, Grade::Pass);
        }
    }

    #[test]
    fn of_a_source_that_does_not_answer_no_number_of_consumers_is_known() {
        assert_eq!(consumers(&Ok(DEFAULTS)), Ok(0));
        let unknown = consumers(&Err("it does not answer".to_owned())).unwrap_err();
        assert!(
            unknown.ends_with("not known: it does not answer"),
            "{unknown}"
        );
    }

    #[test]
    fn a_source_without_a_slot_to_spare_is_told_which_setting_to_raise() {
        let full = Limits {
            used_slots: 9,
            ..DEFAULTS
        };
        let judgement = judge("blue", &full, &source_needs(&full));
        assert_eq!(judgement.grade, Grade::Fail);
        assert_eq!(
            judgement.message,
            "blue has room for 1 more replication slots, 2 are needed"
        );
        assert_eq!(
            judgement.remedy,
            "raise max_replication_slots on blue by 1 and restart it"
        );
    }

    #[test]
    fn a_target_needs_a_slot_for_each_database_and_each_consumer() {
        let target = Limits {
            max_slots: 3,
            used_slots: 0,
            ..DEFAULTS
        };
        assert_eq!(
            judge("green", &target, &publisher_needs(&target, 2, 1)).grade,
            Grade::Pass
        );
        assert_eq!(
            judge("green", &target, &publisher_needs(&target, 2, 2)).grade,
            Grade::Fail
        );
    }

    #[test]
    fn too_few_apply_workers_or_origins_fail() {
        assert_eq!(
            judge("blue", &DEFAULTS, &subscriber_needs(&DEFAULTS, 4)).grade,
            Grade::Fail
        );
        let eighteen = Limits {
            max_origins_18: Some(1),
            ..DEFAULTS
        };
        let judgement = judge("blue", &eighteen, &subscriber_needs(&eighteen, 2));
        assert!(
            judgement.remedy.contains("max_active_replication_origins"),
            "{judgement:?}"
        );
    }
}
