//! Who writes without being a client: sessions of the replication protocol.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct ReplicationWriters;

const SPEC: CheckSpec = CheckSpec::warn("S1", "source.replication-writers");

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

#[async_trait]
impl Check for ReplicationWriters {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    /// Which replication sessions are in a database now.
    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let place = Place::source(ctx);
        let found = place.check(SPEC, DATABASE_WALSENDERS, judge_walsenders);
        vec![found.await]
    }

    /// Which roles could write to `datname` through a replication session.
    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        let found = place.check(SPEC, WRITERS, |rows| judge_writers(datname, rows));
        vec![found.await]
    }
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
            remedy(&writing),
        ),
    };
    judgement.with(rows)
}

/// A superuser has every right, whatever is taken from it.
fn remedy(writing: &[&Writer]) -> String {
    let mut parts = Vec::new();
    if writing.iter().any(|row| !row.superuser) {
        parts.push("take from roles without superuser the right to write, or REPLICATION");
    }
    if writing.iter().any(|row| row.superuser) {
        parts.push("set superusers that nobody needs now to NOLOGIN or NOSUPERUSER");
    }
    parts.push(
        "or go on: the fence ends their sessions, and promotion waits for proof from the WAL that \
         nobody committed after the marker",
    );
    parts.join("; ")
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

fn judge_walsenders(rows: &[Walsender]) -> Judgement {
    let Some(first) = rows.first() else {
        return Judgement::pass("no replication session is in a database");
    };
    Judgement::warn(
        format!(
            "{} in a database (first: pid {} of {} in {}, slot {}); it can write, and the fence \
             will end it",
            count(rows.len(), "replication session"),
            first.pid,
            first.usename.as_deref().unwrap_or("?"),
            first.datname,
            first.slot_name.as_deref().unwrap_or("none")
        ),
        "stop its program for the switch",
    )
    .with(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    #[test]
    fn a_replication_role_that_can_write_is_named_with_what_it_may_write() {
        let harmless = json!([
            {"role": "standby", "superuser": false, "writes_all": false, "writable_tables": 0}
        ]);
        assert_eq!(judge_writers("orders", &rows(harmless)).grade, Grade::Pass);
        let writing = json!([
            {"role": "standby", "superuser": false, "writes_all": false, "writable_tables": 0},
            {"role": "cdc", "superuser": false, "writes_all": false, "writable_tables": 3}
        ]);
        let judgement = judge_writers("orders", &rows(writing));
        assert_eq!(judgement.grade, Grade::Warn);
        assert!(
            judgement.message.contains("cdc, 3 writable tables"),
            "{judgement:?}"
        );
        assert_eq!(judgement.evidence.len(), 2);
    }

    #[test]
    fn a_replication_session_in_a_database_is_named_whatever_it_does() {
        let session = |state: &str| {
            rows(json!([{
                "pid": 7, "usename": "cdc", "datname": "orders", "application_name": "x",
                "client_addr": null, "state": state, "slot_name": "debezium"
            }]))
        };
        assert_eq!(judge_walsenders(&[]).grade, Grade::Pass);
        for state in ["streaming", "startup"] {
            let judgement = judge_walsenders(&session(state));
            assert_eq!(judgement.grade, Grade::Warn);
            let message = &judgement.message;
            assert!(message.contains("pid 7 of cdc in orders, slot debezium"));
        }
    }
}
