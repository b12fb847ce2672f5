//! Whether the control role can close the servers.

use async_trait::async_trait;
use pointsman_catalog::{FenceLevel, Server};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct FenceCoversEveryone;

const SPEC: CheckSpec = CheckSpec::block("C41", "source.fence-covers-everyone");

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

#[async_trait]
impl Check for FenceCoversEveryone {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    /// The target's sessions are ended at the fence as well, and a rollback closes the target.
    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let (source, target) = (Place::source(ctx), Place::target(ctx));
        let (source, target) =
            futures_util::join!(covers_everyone(source), covers_everyone(target));
        vec![source, target]
    }
}

async fn covers_everyone(place: Place<'_>) -> Finding {
    let began = place.clock().monotonic();
    let (closable, escaping) = futures_util::join!(
        place.ask::<Closable>(CLOSABLE),
        place.ask::<Escaping>(ESCAPING),
    );
    let judgement = closable.and_then(|closable| {
        let escaping = escaping?;
        Ok(judge(place.server, &closable).with(&escaping))
    });
    place.finding(SPEC, began, judgement)
}

fn judge(server: &Server, rows: &[Closable]) -> Judgement {
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

#[cfg(test)]
mod tests {
    use pointsman_catalog::ServerName;
    use serde_json::{Value, json};

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    fn server(fence: FenceLevel) -> Server {
        Server {
            name: ServerName::new("blue").unwrap(),
            endpoint: "127.0.0.1:5432".parse().unwrap(),
            control: String::new(),
            control_password: None,
            replication: None,
            replication_password: None,
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
        let judgement = judge(&server(FenceLevel::Sql), &closable(json!({})));
        assert_eq!(judgement.grade, Grade::Pass);
        assert_eq!(
            judgement.message,
            "pointsman can close all 1 database of blue and end every session"
        );
    }

    #[test]
    fn what_the_role_may_not_do_fails_with_the_grant_that_helps() {
        let sql = server(FenceLevel::Sql);
        let fix = |change| {
            let judgement = judge(&sql, &closable(change));
            assert_eq!(judgement.grade, Grade::Fail);
            judgement.remedy
        };
        assert_eq!(fix(json!({"may_close": false})), "GRANT app TO pointsman");
        assert_eq!(
            fix(json!({"may_terminate": false})),
            "GRANT pg_signal_backend TO pointsman"
        );
    }

    #[test]
    fn a_barrier_that_is_refused_is_a_warning() {
        let judgement = judge(
            &server(FenceLevel::Sql),
            &closable(json!({"may_run_barrier": false})),
        );
        assert_eq!(judgement.grade, Grade::Warn);
    }

    #[test]
    fn the_hba_fence_needs_a_superuser() {
        let hba = server(FenceLevel::SqlHba);
        assert_eq!(judge(&hba, &closable(json!({}))).grade, Grade::Fail);
        assert_eq!(
            judge(&hba, &closable(json!({"superuser": true}))).grade,
            Grade::Pass
        );
    }
}
