//! Whether the control role can close the server, and who writes without being a client.

use pointsman_catalog::{FenceLevel, Server};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::{
    CheckContext, Finding,
    check::{Check, Judgement, count},
    place::Place,
};

pub(super) const COVERS_EVERYONE: Check = Check::block("C41", "source.fence-covers-everyone");
pub(super) const REPLICATION_WRITERS: Check = Check::warn("S1", "source.replication-writers");

/// Every database that the fence closes or limits: all that accept connections, templates
/// and `postgres` included.
const CLOSABLE: &str = "
SELECT d.datname::text AS datname, pg_get_userbyid(d.datdba)::text AS owner, d.datconnlimit AS connection_limit,
       current_user::text AS role,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       pg_has_role(current_user, d.datdba, 'USAGE') AS may_close,
       has_tablespace_privilege(current_user, d.dattablespace, 'CREATE') AS may_run_barrier,
       pg_has_role(current_user, 'pg_signal_backend', 'USAGE') AS may_terminate
FROM pg_database d WHERE d.datallowconn AND d.datname <> 'rdsadmin' ORDER BY 1";

/// Who passes a softer fence (a connection limit, `NOLOGIN` of listed roles): shown only.
const ESCAPING: &str = "
SELECT rolname::text AS rolname, rolsuper, rolreplication, rolconnlimit
FROM pg_roles WHERE rolcanlogin AND (rolsuper OR rolreplication) ORDER BY 1";

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
struct Closable {
    datname: String,
    owner: String,
    connection_limit: i64,
    role: String,
    superuser: bool,
    may_close: bool,
    may_run_barrier: bool,
    may_terminate: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Escaping {
    rolname: String,
    rolsuper: bool,
    rolreplication: bool,
    rolconnlimit: i64,
}

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
    let place = Place::source(ctx);
    let walsenders = place.check(ctx, REPLICATION_WRITERS, DATABASE_WALSENDERS, |rows| {
        judge_walsenders(&rows, ctx.planned_slots)
    });
    let target = Place::target(ctx);
    let (on_source, on_target, walsenders) = futures_util::join!(
        covers_everyone(ctx, ctx.source, &place),
        covers_everyone(ctx, ctx.target, &target),
        walsenders,
    );
    vec![on_source, on_target, walsenders]
}

/// Which roles could write to `datname` through a replication session.
pub(super) async fn replication_roles(ctx: &CheckContext<'_>, datname: &str) -> Finding {
    Place::source(ctx)
        .database(datname)
        .check(ctx, REPLICATION_WRITERS, WRITERS, |rows| {
            judge_writers(datname, &rows)
        })
        .await
}

/// The target's sessions are ended at the fence as well, and a rollback closes the target.
async fn covers_everyone(ctx: &CheckContext<'_>, server: &Server, place: &Place<'_>) -> Finding {
    let began = Instant::now();
    let (closable, escaping) = futures_util::join!(
        place.ask::<Closable>(CLOSABLE),
        place.ask::<Escaping>(ESCAPING),
    );
    let judgement = closable.and_then(|closable| {
        let escaping = escaping?;
        Ok(judge_closable(server, &closable).with(&escaping))
    });
    COVERS_EVERYONE.finding(ctx, place.location(), began, judgement)
}

fn judge_closable(server: &Server, rows: &[Closable]) -> Judgement {
    let name = &server.name;
    let Some(first) = rows.first() else {
        return Judgement::fail(
            format!("server {name} shows no database that accepts connections"),
            "check the control role's rights",
        );
    };
    let role = &first.role;
    let judgement = if !first.may_terminate {
        Judgement::fail(
            format!("the control role {role} may not end sessions on {name}"),
            format!("GRANT pg_signal_backend TO {role}"),
        )
    } else if let Some(row) = rows.iter().find(|row| !row.may_close) {
        Judgement::fail(
            format!(
                "the control role {role} cannot close database {} of {name} (owner {})",
                row.datname, row.owner
            ),
            format!("GRANT {} TO {role}", row.owner),
        )
    } else if server.fence == FenceLevel::SqlHba && !first.superuser {
        Judgement::fail(
            format!(
                "the fence level of {name} is sql+hba, and the control role {role} is no \
                 superuser: it cannot rewrite pg_hba.conf"
            ),
            "make the control role a superuser, or set the server's fence to \"sql\"",
        )
    } else if let Some(row) = rows.iter().find(|row| !row.may_run_barrier) {
        Judgement::warn(
            format!(
                "the control role {role} may not run the barrier in {}: sessions that were being \
                 let in at the fence are found only by polling",
                row.datname
            ),
            format!("GRANT CREATE ON TABLESPACE pg_default TO {role}"),
        )
    } else {
        Judgement::pass(format!(
            "{role} can close all {} of {name} and end every session",
            count(rows.len(), "database")
        ))
    };
    judgement.with(rows)
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
    use pointsman_catalog::ServerName;
    use serde_json::{Value, json};

    use super::*;
    use crate::checks::check::{Judged, rows};

    fn server(fence: FenceLevel) -> Server {
        Server {
            name: ServerName::new("blue").unwrap(),
            endpoint: "127.0.0.1:5432".parse().unwrap(),
            control: String::new(),
            replication: None,
            fence,
        }
    }

    fn closable(change: Value) -> Vec<Closable> {
        let mut row = json!({
            "datname": "orders", "owner": "app", "connection_limit": -1, "role": "pointsman",
            "superuser": false, "may_close": true, "may_run_barrier": true, "may_terminate": true
        });
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        rows(json!([row]))
    }

    #[test]
    fn a_role_that_may_do_everything_passes() {
        let judgement = judge_closable(&server(FenceLevel::Sql), &closable(json!({})));
        assert_eq!(judgement.result, Judged::Pass);
        assert_eq!(
            judgement.says,
            "pointsman can close all 1 database of blue and end every session"
        );
    }

    #[test]
    fn what_the_role_may_not_do_fails_with_the_grant_that_helps() {
        let sql = server(FenceLevel::Sql);
        let fix = |change| {
            let judgement = judge_closable(&sql, &closable(change));
            assert_eq!(judgement.result, Judged::Fail);
            judgement.fix
        };
        assert_eq!(fix(json!({"may_close": false})), "GRANT app TO pointsman");
        assert_eq!(
            fix(json!({"may_terminate": false})),
            "GRANT pg_signal_backend TO pointsman"
        );
    }

    #[test]
    fn a_barrier_that_is_refused_is_a_warning() {
        let judgement = judge_closable(
            &server(FenceLevel::Sql),
            &closable(json!({"may_run_barrier": false})),
        );
        assert_eq!(judgement.result, Judged::Warn);
    }

    #[test]
    fn the_hba_fence_needs_a_superuser() {
        let hba = server(FenceLevel::SqlHba);
        assert_eq!(
            judge_closable(&hba, &closable(json!({}))).result,
            Judged::Fail
        );
        assert_eq!(
            judge_closable(&hba, &closable(json!({"superuser": true}))).result,
            Judged::Pass
        );
    }

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
