//! Whether the control role can close the servers.

use async_trait::async_trait;
use pointsman_catalog::{FenceLevel, Server};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        grants::{
            CLOSE_DATABASE, CLOSE_OTHERS, END_SESSIONS, REWRITE_HBA, RUN_BARRIER, SEE_SESSIONS,
        },
        statements::identifier,
    },
    control_role::ControlRole,
    missing::{self, Missing, grant_role},
    place::Place,
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct FenceCoversEveryone;

const SPEC: CheckSpec = CheckSpec::block("C41", "source.fence-covers-everyone");

/// Every database that the fence closes or limits: all that accept connections, templates
/// and `postgres` included.
const CLOSABLE: &str = "
SELECT d.datname::text AS datname, o.rolname::text AS owner, o.rolsuper AS owner_is_superuser,
       d.datconnlimit AS connection_limit, pg_has_role(d.datdba, 'USAGE') AS may_close,
       has_tablespace_privilege(d.dattablespace, 'CREATE') AS may_move
FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba
WHERE d.datallowconn ORDER BY 1";

/// Who passes a softer fence (a connection limit, `NOLOGIN` of listed roles): shown only.
const ESCAPING: &str = "
SELECT rolname::text AS rolname, rolsuper, rolreplication, rolconnlimit
FROM pg_roles WHERE rolcanlogin AND (rolsuper OR rolreplication) ORDER BY 1";

#[derive(Debug, Deserialize, Serialize)]
struct Closable {
    datname: String,
    owner: String,
    owner_is_superuser: bool,
    connection_limit: i64,
    may_close: bool,
    may_move: bool,
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
        let named: Vec<_> = ctx
            .moving()
            .into_iter()
            .chain(ctx.staying_closed())
            .collect();
        let (source, target) = futures_util::join!(
            on_server(Place::source(ctx), &named, Closing::IsTried),
            on_server(Place::target(ctx), &named, Closing::IsLookedUp),
        );
        vec![source, target]
    }
}

/// A standby takes no ALTER DATABASE; its roles are its primary's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Closing {
    IsTried,
    IsLookedUp,
}

async fn on_server(place: Place<'_>, named: &[&str], closing: Closing) -> Finding {
    let began = place.clock().monotonic();
    let judgement = look(place, named, closing).await;
    place.finding(SPEC, began, judgement)
}

async fn look(place: Place<'_>, named: &[&str], closing: Closing) -> Result<Judgement, String> {
    let (role, closable, escaping) = futures_util::join!(
        ControlRole::of(place),
        place.ask::<Closable>(CLOSABLE),
        place.ask::<Escaping>(ESCAPING),
    );
    let (role, mut closable, escaping) = (role?, closable?, escaping?);
    if closing == Closing::IsTried && !role.superuser {
        for row in closable.iter_mut().filter(|row| row.may_close) {
            row.may_close = place.refusal(&as_it_is(row)).await?.is_none();
        }
    }
    Ok(judge(place.server, &role, named, &closable).with(&escaping))
}

/// The statement that closes or limits the database, with the value that it has.
fn as_it_is(row: &Closable) -> String {
    let change = match row.datname.as_str() {
        "postgres" => format!("CONNECTION LIMIT {}", row.connection_limit),
        _ => "ALLOW_CONNECTIONS true".to_owned(),
    };
    format!("ALTER DATABASE {} {change}", identifier(&row.datname))
}

/// `named` are the databases of the migration.
fn judge(server: &Server, role: &ControlRole, named: &[&str], rows: &[Closable]) -> Judgement {
    let name = server.name.as_str();
    let ControlRole { name: who, .. } = role;
    if rows.is_empty() {
        return Judgement::fail(
            format!("server {name} shows no database that accepts connections"),
            "check the control role's rights",
        );
    }
    let mut missing = Vec::new();
    if !role.may_see {
        let grant = format!("GRANT pg_monitor TO {}", identifier(who));
        missing.push(Missing::new(SEE_SESSIONS, "", grant));
    }
    if !role.may_end {
        let grant = format!("GRANT pg_signal_backend TO {}", identifier(who));
        missing.push(Missing::new(END_SESSIONS, "", grant));
    }
    for row in rows.iter().filter(|row| !row.may_close) {
        let object = format!("{}, owner {}", row.datname, row.owner);
        let right = if named.contains(&row.datname.as_str()) {
            CLOSE_DATABASE
        } else {
            CLOSE_OTHERS
        };
        missing.push(Missing::new(right, object, row.own(role)));
    }
    if server.fence == FenceLevel::SqlHba && !role.superuser {
        let remedy = format!(
            "set the fence of server {name} to \"sql\", or make {} a superuser",
            identifier(who)
        );
        missing.push(Missing::new(REWRITE_HBA, "fence level sql+hba", remedy));
    }
    if !role.superuser && !role.may_rename && rows.iter().any(|row| !row.may_move) {
        let grant = format!("ALTER ROLE {} CREATEDB", identifier(who));
        missing.push(Missing::new(RUN_BARRIER, "", grant));
    }
    let otherwise = format!(
        "{who} can close all {} of {name} and end every session",
        count(rows.len(), "database")
    );
    missing::judge(name, who, &missing, otherwise).with(rows)
}

impl Closable {
    /// What lets `role` close this database. A member of a superuser could become one.
    fn own(&self, role: &ControlRole) -> String {
        if self.owner_is_superuser {
            format!(
                "ALTER DATABASE {} OWNER TO {}",
                identifier(&self.datname),
                identifier(&role.name)
            )
        } else {
            grant_role(&self.owner, &role.name, role.version)
        }
    }
}

#[cfg(test)]
mod tests {
    use pointsman_catalog::ServerName;
    use serde_json::{Value, json};

    use super::{super::control_role, *};
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    fn server(fence: FenceLevel) -> Server {
        Server {
            name: ServerName::new("blue").unwrap(),
            endpoint: "127.0.0.1:5432".parse().unwrap(),
            control: String::new(),
            control_password: None,
            replication: None,
            replication_password: None,
            probe: None,
            probe_password: None,
            fence,
        }
    }

    fn judged(fence: FenceLevel, change: Value) -> Judgement {
        let mut row = json!({
            "datname": "orders", "owner": "app", "owner_is_superuser": false, "connection_limit": -1,
            "may_close": true, "may_move": false
        });
        let fields = row.as_object_mut().unwrap();
        for (key, value) in change.as_object().unwrap() {
            fields.entry(key).and_modify(|field| *field = value.clone());
        }
        let role = control_role::role(&change);
        judge(&server(fence), &role, &["orders"], &rows(json!([row])))
    }

    #[test]
    fn a_role_that_may_do_everything_passes() {
        let judgement = judged(FenceLevel::Sql, json!({}));
        assert_eq!(judgement.grade, Grade::Pass);
        assert_eq!(
            judgement.message,
            "pointsman can close all 1 database of blue and end every session"
        );
    }

    #[test]
    fn what_the_role_may_not_do_fails_with_the_grant_that_helps() {
        let fix = |change| {
            let judgement = judged(FenceLevel::Sql, change);
            assert_eq!(judgement.grade, Grade::Fail);
            judgement.remedy
        };
        assert_eq!(
            fix(json!({"may_close": false})),
            "GRANT \"app\" TO \"pointsman\""
        );
        assert_eq!(
            fix(json!({"may_close": false, "owner_is_superuser": true})),
            "ALTER DATABASE \"orders\" OWNER TO \"pointsman\""
        );
        assert_eq!(
            fix(json!({"may_end": false, "may_see": false})),
            "GRANT pg_monitor TO \"pointsman\"; GRANT pg_signal_backend TO \"pointsman\""
        );
    }

    #[test]
    fn a_database_outside_of_the_migration_may_stay_open_and_is_named() {
        let judgement = judged(
            FenceLevel::Sql,
            json!({"may_close": false, "datname": "rdsadmin", "owner": "rdsadmin", "owner_is_superuser": true}),
        );
        assert_eq!(judgement.grade, Grade::Warn);
        assert!(
            judgement.message.contains("(rdsadmin, owner rdsadmin)"),
            "{judgement:?}"
        );
    }

    #[test]
    fn the_barrier_needs_one_of_two_rights() {
        let grade = |change| judged(FenceLevel::Sql, change).grade;
        assert_eq!(grade(json!({"may_rename": false})), Grade::Fail);
        assert_eq!(
            grade(json!({"may_rename": false, "may_move": true})),
            Grade::Pass
        );
    }

    #[test]
    fn the_hba_fence_needs_a_superuser() {
        let grade = |change| judged(FenceLevel::SqlHba, change).grade;
        assert_eq!(grade(json!({})), Grade::Fail);
        assert_eq!(grade(json!({"superuser": true})), Grade::Pass);
    }

    #[test]
    fn what_is_tried_leaves_a_database_as_it_is() {
        let row = |datname: &str| -> Closable {
            serde_json::from_value(json!({
                "datname": datname, "owner": "app", "owner_is_superuser": false, "connection_limit": 7,
                "may_close": false, "may_move": true
            }))
            .unwrap()
        };
        assert_eq!(
            as_it_is(&row("orders")),
            "ALTER DATABASE \"orders\" ALLOW_CONNECTIONS true"
        );
        assert_eq!(
            as_it_is(&row("postgres")),
            "ALTER DATABASE \"postgres\" CONNECTION LIMIT 7"
        );
    }
}
