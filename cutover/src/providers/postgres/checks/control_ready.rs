//! Whether this control plane can drive both servers: sessions that answer, clocks that
//! agree, and what a switch needs there.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{
    super::{grants::READ_WAL, powers::acts_as_another, statements::identifier},
    missing::{self, Missing},
    place::Place,
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct ControlReady;

const SPEC: CheckSpec = CheckSpec::block("C81", "control.ready");

const ANSWER: &str = "
SELECT current_database()::text AS db, pg_is_in_recovery() AS in_recovery,
       round(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS db_clock_ms, pg_backend_pid() AS pid";

/// That nobody wrote is proved from WAL records where `pg_walinspect` reads them, which
/// PostgreSQL has from 15 on; elsewhere by transaction ids. `may_read_wal` is null where the
/// extension has yet to be made.
const EQUIPMENT: &str = "
SELECT current_setting('server_version_num')::int AS version, session_user::text AS login, current_user::text AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       current_setting('track_commit_timestamp')::bool AS keeps_origins,
       current_setting('autovacuum')::bool AS autovacuum,
       EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'pg_walinspect') AS walinspect,
       (SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'pg_walinspect') AS walinspect_schema,
       (SELECT bool_and(has_function_privilege(p.oid, 'EXECUTE') AND has_schema_privilege(p.pronamespace, 'USAGE'))
        FROM pg_extension e JOIN pg_proc p ON p.pronamespace = e.extnamespace
        WHERE e.extname = 'pg_walinspect' AND p.proname = 'pg_get_wal_records_info') AS may_read_wal";

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Answer {
    db: String,
    in_recovery: bool,
    db_clock_ms: i64,
    pid: i64,
}

/// An answer with what the asking showed.
#[derive(Clone, Debug, Serialize)]
struct Timed {
    #[serde(flatten)]
    answer: Answer,
    took_ms: u64,
    /// The server's clock minus this machine's, in milliseconds, at best.
    ahead_ms: i64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Equipment {
    version: i64,
    login: String,
    role: String,
    superuser: bool,
    /// Of each transaction the origin: `track_commit_timestamp`.
    keeps_origins: bool,
    autovacuum: bool,
    walinspect: bool,
    walinspect_schema: Option<String>,
    may_read_wal: Option<bool>,
}

/// What a server is in its replication.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ReplicationRole {
    Primary,
    Standby,
}

#[async_trait]
impl Check for ControlReady {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let moving = ctx.moving();
        let (source, target) = futures_util::join!(
            on_server(Place::source(ctx), &moving, ReplicationRole::Primary),
            on_server(Place::target(ctx), &moving, ReplicationRole::Standby),
        );
        vec![source, target]
    }
}

async fn on_server(place: Place<'_>, moving: &[&str], expected: ReplicationRole) -> Finding {
    let began = place.clock().monotonic();
    let judgement = look(place, moving, expected).await;
    place.finding(SPEC, began, judgement)
}

async fn look(
    place: Place<'_>,
    moving: &[&str],
    expected: ReplicationRole,
) -> Result<Judgement, String> {
    let equipment = place.ask_one::<Equipment>(EQUIPMENT).await?;
    let mut answers = vec![answer(place).await?];
    for &datname in moving {
        answers.push(answer(place.database(datname)).await?);
    }
    let name = place.name();
    let judgement = answers
        .iter()
        .find_map(|answer| unfit(name, answer, expected))
        .or_else(|| other_role(name, &equipment))
        .or_else(|| lacking(name, &equipment, expected))
        .unwrap_or_else(|| {
            let sessions = answers.len();
            Judgement::pass(format!(
                "{name} answers in all {sessions} sessions, its clock agrees with ours, and its WAL can be read"
            ))
        });
    Ok(judgement.with(&answers).with(&[equipment]))
}

/// The quickest of up to three tries. A session is opened on the first.
async fn answer(place: Place<'_>) -> Result<Timed, String> {
    let clock = place.clock();
    let mut best: Option<Timed> = None;
    for _ in 0..TRIES {
        let before = clock.now();
        let began = clock.monotonic();
        let answer = place.ask_one::<Answer>(ANSWER).await?;
        let timed = Timed::new(answer, before, clock.elapsed(began));
        let quick = timed.took_ms < SLOW_MS;
        if best
            .as_ref()
            .is_none_or(|best| timed.took_ms < best.took_ms)
        {
            best = Some(timed);
        }
        if quick {
            break;
        }
    }
    best.ok_or_else(|| format!("server {} was not asked", place.name()))
}

impl Timed {
    /// The clock was read at some moment between asking and answer; the offset is the
    /// smallest that explains it.
    fn new(answer: Answer, asked: UnixMillis, took: Duration) -> Self {
        let millis = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let earliest = millis(asked.0);
        let latest = earliest.saturating_add(millis(took_ms));
        let clock = answer.db_clock_ms;
        Self {
            ahead_ms: clock.saturating_sub(clock.clamp(earliest, latest)),
            answer,
            took_ms,
        }
    }
}

impl ReplicationRole {
    fn of(answer: &Answer) -> Self {
        if answer.in_recovery {
            Self::Standby
        } else {
            Self::Primary
        }
    }
}

impl fmt::Display for ReplicationRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "a primary",
            Self::Standby => "a standby",
        })
    }
}

/// Why an answer shows that `server` cannot be driven.
fn unfit(server: &str, timed: &Timed, expected: ReplicationRole) -> Option<Judgement> {
    let Timed {
        answer,
        took_ms,
        ahead_ms,
    } = timed;
    let role = ReplicationRole::of(answer);
    if role != expected {
        return Some(Judgement::fail(
            format!("{server} is {role}, where {expected} is expected"),
            "find out who changed its role",
        ));
    }
    if *took_ms >= SLOW_MS {
        return Some(Judgement::fail(
            format!(
                "the session to {} on {server} took {took_ms} ms to answer, in the best of {TRIES} \
                 tries; a switch would not end within its hold",
                answer.db
            ),
            format!("look at the load of {server} and at the network to it"),
        ));
    }
    (ahead_ms.unsigned_abs() > CLOCK_MS).then(|| {
        let way = if *ahead_ms > 0 { "ahead of" } else { "behind" };
        Judgement::fail(
            format!(
                "the clock of {server} is {} ms {way} this machine's; the deadline of a promotion \
                 is kept on the server's clock",
                ahead_ms.unsigned_abs()
            ),
            "let both keep time by NTP",
        )
    })
}

fn other_role(server: &str, equipment: &Equipment) -> Option<Judgement> {
    let Equipment { login, role, .. } = equipment;
    (login != role).then(|| {
        let (reason, remedy) = acts_as_another(login, role);
        Judgement::fail(format!("at {server} {reason}"), remedy)
    })
}

/// What `server` lacks for a switch.
fn lacking(server: &str, equipment: &Equipment, role: ReplicationRole) -> Option<Judgement> {
    if equipment.version < OLDEST {
        return Some(Judgement::fail(
            format!(
                "{server} is PostgreSQL {}; a switch needs 14 or later",
                equipment.version / 10_000
            ),
            "upgrade it",
        ));
    }
    let who = identifier(&equipment.role);
    let (why, grant) = match (&equipment.walinspect_schema, equipment.may_read_wal) {
        (_, Some(true)) => return None,
        // The start of the migration makes it.
        (None, _) if equipment.superuser && equipment.walinspect => return None,
        (None, _) if !equipment.walinspect => (
            "no extension pg_walinspect to install",
            format!("install PostgreSQL's contrib modules on {server}, if it is 15 or later"),
        ),
        (None, _) => (
            "no extension pg_walinspect in database postgres",
            format!(
                "CREATE EXTENSION pg_walinspect; GRANT EXECUTE ON FUNCTION \
                 pg_get_wal_records_info(pg_lsn, pg_lsn) TO {who}"
            ),
        ),
        (Some(schema), _) => {
            let schema = identifier(schema);
            (
                "its function is not granted",
                format!(
                    "GRANT USAGE ON SCHEMA {schema} TO {who}; GRANT EXECUTE ON FUNCTION \
                     {schema}.pg_get_wal_records_info(pg_lsn, pg_lsn) TO {who}"
                ),
            )
        }
    };
    let missing = [Missing::new(READ_WAL, why, grant).granted_in("postgres")];
    let mut judgement = missing::judge(server, &equipment.role, &missing, "");
    if role == ReplicationRole::Primary {
        let advice = proof_by_origins(server, equipment);
        judgement.remedy = format!("{}{advice}", judgement.remedy);
    }
    Some(judgement)
}

/// How it can be told who writes on the source in the bake all the same.
fn proof_by_origins(server: &str, equipment: &Equipment) -> String {
    match (equipment.keeps_origins, equipment.autovacuum) {
        (false, _) => format!(
            "; or set track_commit_timestamp = on at {server} (restart) to have the way back proven \
             without pg_walinspect"
        ),
        (true, true) => format!(
            "; or switch autovacuum off on {server} for the bake: an id of its ANALYZE cannot be told from \
             a stranger's, and no way back is called lossless then"
        ),
        (true, false) => String::new(),
    }
}

const TRIES: u32 = 3;
const SLOW_MS: u64 = 500;
const CLOCK_MS: u64 = 1000;
/// `server_version_num` of the oldest supported release.
const OLDEST: i64 = 140_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn timed(in_recovery: bool, clock_ms: i64, took_ms: u64) -> Timed {
        let answer = Answer {
            db: "orders".to_owned(),
            in_recovery,
            db_clock_ms: clock_ms,
            pid: 1,
        };
        Timed::new(answer, UnixMillis(10_000), Duration::from_millis(took_ms))
    }

    #[test]
    fn a_server_that_answers_in_its_role_and_time_is_fit() {
        assert_eq!(
            unfit("blue", &timed(false, 10_003, 5), ReplicationRole::Primary),
            None
        );
        assert_eq!(
            unfit("blue", &timed(false, 10_900, 5), ReplicationRole::Primary),
            None
        );
    }

    #[test]
    fn the_clock_offset_is_the_least_that_explains_the_answer() {
        assert_eq!(timed(false, 10_300, 400).ahead_ms, 0);
        assert_eq!(timed(false, 12_400, 400).ahead_ms, 2000);
        assert_eq!(timed(false, 8_000, 400).ahead_ms, -2000);
    }

    #[test]
    fn a_wrong_role_a_slow_answer_and_a_wrong_clock_are_named() {
        for (answer, expected) in [
            (
                timed(true, 10_000, 5),
                "a standby, where a primary is expected",
            ),
            (timed(false, 10_000, 600), "took 600 ms"),
            (timed(false, 12_005, 5), "2000 ms ahead of"),
            (timed(false, 8_000, 5), "2000 ms behind"),
        ] {
            let judgement = unfit("blue", &answer, ReplicationRole::Primary).unwrap();
            assert_eq!(judgement.grade, Grade::Fail);
            assert!(judgement.message.contains(expected), "{judgement:?}");
        }
    }

    #[test]
    fn an_old_server_and_a_wal_that_cannot_be_read_are_named() {
        let equipped =
            |version: i64, superuser, walinspect, may_read_wal: Option<bool>| Equipment {
                version,
                login: "pointsman".to_owned(),
                role: "pointsman".to_owned(),
                superuser,
                keeps_origins: false,
                autovacuum: true,
                walinspect,
                walinspect_schema: may_read_wal.map(|_| "public".to_owned()),
                may_read_wal,
            };
        let lacks = |equipment| {
            let lacking = lacking("blue", &equipment, ReplicationRole::Primary);
            lacking.map(|judgement| judgement.grade)
        };
        assert_eq!(lacks(equipped(150_018, true, true, None)), None);
        assert_eq!(lacks(equipped(150_018, false, true, Some(true))), None);
        assert_eq!(
            lacks(equipped(130_001, true, true, None)),
            Some(Grade::Fail)
        );
        let ids_alone = Some(Grade::Warn);
        assert_eq!(lacks(equipped(140_001, true, false, None)), ids_alone);
        assert_eq!(lacks(equipped(150_018, true, false, None)), ids_alone);
        assert_eq!(lacks(equipped(150_018, false, true, None)), ids_alone);
        assert_eq!(
            lacks(equipped(150_018, false, true, Some(false))),
            ids_alone
        );
    }

    #[test]
    fn where_wal_cannot_be_read_the_source_is_advised_to_keep_origins() {
        let remedy = |keeps_origins, autovacuum, role| {
            let equipment = Equipment {
                version: 140_001,
                login: "pointsman".to_owned(),
                role: "pointsman".to_owned(),
                superuser: true,
                keeps_origins,
                autovacuum,
                walinspect: false,
                walinspect_schema: None,
                may_read_wal: None,
            };
            lacking("blue", &equipment, role).unwrap().remedy
        };
        let advice = "set track_commit_timestamp = on at blue (restart)";
        let (source, target) = (ReplicationRole::Primary, ReplicationRole::Standby);
        assert!(remedy(false, true, source).contains(advice));
        assert!(!remedy(false, true, target).contains(advice));
        assert!(remedy(true, true, source).contains("switch autovacuum off on blue"));
        let proven = remedy(true, false, source);
        assert!(
            !proven.contains("origin") && !proven.contains("autovacuum"),
            "{proven}"
        );
    }
}
