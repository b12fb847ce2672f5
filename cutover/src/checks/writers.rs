//! Who writes without being a client: sessions of the replication protocol.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    CheckContext, Finding,
    check::{Check, Judgement, count},
    place::Place,
};

pub(super) const REPLICATION_WRITERS: Check = Check::warn("S1", "source.replication-writers");

/// Roles that can open a replication session, and how much of this database they may
/// write. Sequences and large objects are not counted: a role without any right makes
/// large objects.
const WRITERS: &str = "
SELECT r.rolname::text AS role, r.rolsuper AS superuser,
       pg_has_role(r.oid, 'pg_write_all_data', 'USAGE') AS writes_all,
       (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r','p') AND n.nspname !~ '^(pg_|information_schema$)'
          AND has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS writable_tables
FROM pg_roles r
WHERE r.rolcanlogin AND (r.rolreplication OR r.rolsuper) AND r.rolname <> current_user
ORDER BY 1";

/// Walsenders that are in a database run plain SQL as well.
const DATABASE_WALSENDERS: &str = "
SELECT a.pid, a.usename::text AS usename, a.datname::text AS datname, a.application_name,
       host(a.client_addr) AS client_addr, r.state, s.slot_name::text AS slot_name
FROM pg_stat_activity a
LEFT JOIN pg_stat_replication r ON r.pid = a.pid
LEFT JOIN pg_replication_slots s ON s.active_pid = a.pid
WHERE a.backend_type = 'walsender' AND a.datname IS NOT NULL
ORDER BY a.pid";

#[derive(Debug, Deserialize, Serialize)]
struct Writer {
    role: String,
    superuser: bool,
    writes_all: bool,
    writable_tables: i64,
}

#[derive(Debug, Deserialize, Serialize)]
struct Walsender {
    pid: i64,
    usename: Option<String>,
    datname: String,
    application_name: String,
    client_addr: Option<String>,
    state: Option<String>,
    slot_name: Option<String>,
}

pub(super) async fn on_server(ctx: &CheckContext<'_>) -> Vec<Finding> {
    let judge = |rows: Vec<Walsender>| judge_walsenders(&rows, ctx.planned_slots);
    let place = Place::source(ctx);
    vec![
        place
            .check(ctx, REPLICATION_WRITERS, DATABASE_WALSENDERS, judge)
            .await,
    ]
}

/// Which roles could write to `datname` through a replication session.
pub(super) async fn in_database(ctx: &CheckContext<'_>, datname: &str) -> Finding {
    Place::source(ctx)
        .database(datname)
        .check(ctx, REPLICATION_WRITERS, WRITERS, |rows| {
            judge_writers(datname, &rows)
        })
        .await
}

fn judge_writers(datname: &str, rows: &[Writer]) -> Judgement {
    let writes = |row: &&Writer| row.superuser || row.writes_all || row.writable_tables > 0;
    let writing: Vec<_> = rows.iter().filter(writes).collect();
    let judgement = match writing.first() {
        None => Judgement::pass(format!(
            "no role but the control role can write tables of {datname} through a replication \
             session"
        )),
        Some(first) => Judgement::warn(
            format!(
                "{} can log in for replication and write in {datname} (first: {}, {}); such a \
                 session is a writer that looks like a walsender",
                count(writing.len(), "role"),
                first.role,
                extent(first)
            ),
            "take from them the right to write, or REPLICATION. The fence ends their sessions, \
             and promotion waits for proof from the WAL that nobody committed after the marker",
        ),
    };
    judgement.with(rows)
}

fn extent(writer: &Writer) -> String {
    if writer.superuser {
        "superuser".to_owned()
    } else if writer.writes_all {
        "member of pg_write_all_data".to_owned()
    } else {
        let n = usize::try_from(writer.writable_tables).unwrap_or(usize::MAX);
        count(n, "writable table")
    }
}

fn judge_walsenders(rows: &[Walsender], planned_slots: &[String]) -> Judgement {
    let planned = |row: &&Walsender| {
        let slot = row.slot_name.as_ref();
        slot.is_some_and(|slot| planned_slots.contains(slot))
            && row.state.as_deref() == Some("streaming")
    };
    let unplanned: Vec<_> = rows.iter().filter(|row| !planned(row)).collect();
    let judgement = match unplanned.first() {
        None if rows.is_empty() => Judgement::pass("no replication session is in a database"),
        None => Judgement::pass(format!(
            "{} in a database, each the streaming consumer of a planned slot",
            count(rows.len(), "replication session")
        )),
        Some(first) => Judgement::warn(
            format!(
                "{} in a database that no planned slot explains (first: pid {} of {} in {}, slot \
                 {}); it can write, and the fence will end it",
                count(unplanned.len(), "replication session"),
                first.pid,
                first.usename.as_deref().unwrap_or("?"),
                first.datname,
                first.slot_name.as_deref().unwrap_or("none")
            ),
            "stop its program for the switch, or plan its slot, so that its consumer can read on",
        ),
    };
    let mut judgement = judgement.with(rows);
    judgement
        .evidence
        .push(json!({ "planned_slots": planned_slots }));
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::check::{Judged, rows};

    #[test]
    fn a_replication_role_that_can_write_is_named_with_what_it_may_write() {
        let harmless = json!([
            {"role": "standby", "superuser": false, "writes_all": false, "writable_tables": 0}
        ]);
        assert_eq!(
            judge_writers("orders", &rows(harmless)).result,
            Judged::Pass
        );
        let writing = json!([
            {"role": "standby", "superuser": false, "writes_all": false, "writable_tables": 0},
            {"role": "cdc", "superuser": false, "writes_all": false, "writable_tables": 3}
        ]);
        let judgement = judge_writers("orders", &rows(writing));
        assert_eq!(judgement.result, Judged::Warn);
        assert!(
            judgement.says.contains("cdc, 3 writable tables"),
            "{judgement:?}"
        );
        assert_eq!(judgement.evidence.len(), 2);
    }

    #[test]
    fn only_the_streaming_consumer_of_a_planned_slot_is_expected() {
        let session = |state: &str, slot: &str| {
            rows(json!([{
                "pid": 7, "usename": "cdc", "datname": "orders", "application_name": "x",
                "client_addr": null, "state": state, "slot_name": slot
            }]))
        };
        let planned = ["debezium".to_owned()];
        let result = |rows: &[Walsender]| judge_walsenders(rows, &planned).result;
        assert_eq!(result(&[]), Judged::Pass);
        assert_eq!(result(&session("streaming", "debezium")), Judged::Pass);
        assert_eq!(result(&session("startup", "debezium")), Judged::Warn);
        assert_eq!(result(&session("streaming", "other")), Judged::Warn);
    }
}
