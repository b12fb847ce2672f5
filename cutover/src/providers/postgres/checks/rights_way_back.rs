//! The rights that the reverse stream rests on.

use async_trait::async_trait;
use pointsman_catalog::{Conninfo, Server};
use serde::Deserialize;

use super::{
    super::{
        connection::user_in,
        grants::{
            ACT_FOR_OWNERS, CARRY_SEQUENCES, MAKE_SLOTS, PUBLISH_TABLES, STREAM_CHANGES, SUBSCRIBE,
            SUBSCRIBE_WITHOUT_PASSWORD, TAKE_LOGINS,
        },
        statements::{PUBLICATION, identifier, literal},
    },
    missing::{self, Missing, grant_role},
    place::{INSUFFICIENT_PRIVILEGE, Place},
    rights_no_way_back::WITHOUT_SUPERUSER,
};
use crate::{
    checks::{Check, CheckContext, CheckSpec, Finding, Judgement},
    ports::Tried,
};

#[derive(Debug)]
pub(super) struct RightsForWayBack;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("G2", "rights.way-back");

const ROLE: &str = "
SELECT current_user::text AS role, current_setting('server_version_num')::int AS version,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
       EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') AS on_rds,
       (SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = 'pg_create_subscription') AS may_subscribe";

/// Tables and sequences whose changes the stream or a rollback carries, and for which a
/// right is missing. Before 16 each member of a role may become it.
const UNCARRIED: &str = "
SELECT * FROM (
  SELECT c.oid::regclass::text AS name, c.relkind = 'S' AS sequence, o.rolname::text AS owner,
         o.rolsuper AS owner_is_superuser, pg_has_role(o.oid, 'USAGE') AS inherited,
         pg_has_role(o.oid, CASE WHEN current_setting('server_version_num')::int >= 160000
           THEN 'SET' ELSE 'MEMBER' END) AS may_become,
         c.relkind = 'S' AND has_sequence_privilege(c.oid, 'UPDATE') AND has_sequence_privilege(c.oid, 'SELECT') AS may_set
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner
  WHERE c.relkind IN ('r', 'S') AND c.relpersistence = 'p'
    AND n.nspname !~ '^(pg_|information_schema$|pointsman$)') AS q
WHERE CASE WHEN sequence THEN NOT may_set ELSE NOT (inherited AND may_become) END
ORDER BY sequence, name";

/// Who else enters a database that only the control role may connect to.
const PASSING: &str = "
SELECT rolname::text AS name, rolsuper AS superuser FROM pg_roles
WHERE rolcanlogin AND rolname <> current_user
  AND (rolsuper OR pg_has_role(oid, (SELECT oid FROM pg_roles WHERE rolname = current_user), 'USAGE'))
ORDER BY 1";

#[derive(Debug, Deserialize)]
struct ControlRole {
    role: String,
    version: i64,
    superuser: bool,
    on_rds: bool,
    /// `None` where that role does not exist.
    may_subscribe: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Relation {
    name: String,
    sequence: bool,
    owner: String,
    owner_is_superuser: bool,
    inherited: bool,
    may_become: bool,
}

#[derive(Debug, Deserialize)]
struct Streamer {
    may_log_in: bool,
    may_stream: bool,
}

#[derive(Debug, Deserialize)]
struct Passing {
    name: String,
    superuser: bool,
}

impl ControlRole {
    fn makes_subscriptions(&self) -> bool {
        self.superuser || self.version >= WITHOUT_SUPERUSER
    }
}

#[async_trait]
impl Check for RightsForWayBack {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let (source, target) = (Place::source(ctx), Place::target(ctx));
        let began = ctx.clock.monotonic();
        let (on_source, on_target) =
            futures_util::join!(look_at_source(ctx, source), look_at_target(target));
        vec![
            source.finding(SPEC, began, on_source),
            target.finding(SPEC, began, on_target),
        ]
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        let began = ctx.clock.monotonic();
        let judgement = look_into_database(place, datname).await;
        vec![place.finding(SPEC, began, judgement)]
    }
}

async fn look_at_source(ctx: &CheckContext<'_>, place: Place<'_>) -> Result<Judgement, String> {
    let role = place.ask_one::<ControlRole>(ROLE).await?;
    let mut missing: Vec<_> = make_slots(place, &role).await?.into_iter().collect();
    if role.makes_subscriptions() {
        missing.extend(stream_changes(place, &role, ctx.target).await?);
        missing.extend(without_password(&role, ctx.target));
        missing.extend(take_logins(place, &role).await?);
    }
    let otherwise = format!(
        "{} may arm the reverse stream on {}",
        role.role,
        place.name()
    );
    Ok(missing::judge(
        place.name(),
        &role.role,
        &missing,
        otherwise,
    ))
}

async fn look_at_target(place: Place<'_>) -> Result<Judgement, String> {
    let role = place.ask_one::<ControlRole>(ROLE).await?;
    let missing: Vec<_> = make_slots(place, &role).await?.into_iter().collect();
    let otherwise = format!("{} may make reverse slots on {}", role.role, place.name());
    Ok(missing::judge(
        place.name(),
        &role.role,
        &missing,
        otherwise,
    ))
}

/// Whoever may not drop slots is told so before the server looks for the slot.
async fn make_slots(place: Place<'_>, role: &ControlRole) -> Result<Option<Missing>, String> {
    let drop = format!("SELECT pg_drop_replication_slot({})", literal(NO_SLOT));
    match place.tried(&drop).await? {
        Tried::Refused { sqlstate, .. } if sqlstate == UNDEFINED_OBJECT => Ok(None),
        Tried::Refused { sqlstate, message } if sqlstate == INSUFFICIENT_PRIVILEGE => Ok(Some(
            Missing::new(MAKE_SLOTS, message, role.replicate(&role.role)),
        )),
        other @ (Tried::Works | Tried::Refused { .. }) => Err(format!(
            "dropping a slot that is not there ended as {other:?}"
        )),
    }
}

impl ControlRole {
    /// What lets `role` replicate.
    fn replicate(&self, role: &str) -> String {
        if self.on_rds {
            format!("GRANT rds_replication TO {}", identifier(role))
        } else {
            format!("ALTER ROLE {} REPLICATION", identifier(role))
        }
    }
}

/// The role by which the source reads the target.
async fn stream_changes(
    place: Place<'_>,
    role: &ControlRole,
    target: &Server,
) -> Result<Option<Missing>, String> {
    let string = target.replication.as_ref().unwrap_or(&target.control);
    let Some(user) = user_in(string) else {
        return Ok(None);
    };
    let select = format!(
        "SELECT rolcanlogin AS may_log_in, rolsuper OR rolreplication OR coalesce( \
           (SELECT pg_has_role(r.oid, g.oid, 'USAGE') FROM pg_roles g WHERE g.rolname = 'rds_replication'), \
           false) AS may_stream \
         FROM pg_roles r WHERE rolname = {}",
        literal(&user)
    );
    let found = place.ask::<Streamer>(&select).await?;
    let (lacks, grant) = match found.first() {
        None => {
            let create = format!("CREATE ROLE {} LOGIN", identifier(&user));
            (
                "does not exist",
                format!("{create}; {}", role.replicate(&user)),
            )
        }
        Some(found) if !found.may_log_in => {
            let alter = format!("ALTER ROLE {} LOGIN", identifier(&user));
            ("may not log in", alter)
        }
        Some(found) if !found.may_stream => ("may not stream changes", role.replicate(&user)),
        Some(_) => return Ok(None),
    };
    let missing = Missing::new(STREAM_CHANGES, format!("role {user}"), grant);
    Ok(Some(
        missing.of_role(format!("role {user} of `replication` {lacks}")),
    ))
}

/// A superuser may subscribe by whatever lets it in. A password may stand in a service file.
/// <https://www.postgresql.org/docs/current/sql-createsubscription.html>
fn without_password(role: &ControlRole, target: &Server) -> Option<Missing> {
    let string = target.replication.as_deref()?;
    let named = Conninfo::parse(string).is_ok_and(|info| info.get("service").is_some());
    if role.superuser || target.replication_password.is_some() || named {
        return None;
    }
    let remedy = format!(
        "declare replication_password for server {}, and let its pg_hba.conf ask for it",
        target.name
    );
    Some(Missing::new(SUBSCRIBE_WITHOUT_PASSWORD, "", remedy))
}

/// In the bake the source is open for its apply workers, and for whoever passes its limits.
async fn take_logins(place: Place<'_>, role: &ControlRole) -> Result<Vec<Missing>, String> {
    if role.superuser {
        return Ok(Vec::new());
    }
    let passing = place.ask::<Passing>(PASSING).await?;
    let mut missing = Vec::new();
    for Passing { name, superuser } in passing.into_iter().take(LOGINS) {
        let take = format!("ALTER ROLE {} NOLOGIN", identifier(&name));
        if place.refusal(&take).await?.is_none() {
            continue;
        }
        let remedy = if superuser {
            format!("{take}, by hand, for as long as the migration bakes")
        } else {
            format!(
                "REVOKE {} FROM {}",
                identifier(&role.role),
                identifier(&name)
            )
        };
        missing.push(Missing::new(TAKE_LOGINS, name, remedy));
    }
    Ok(missing)
}

async fn look_into_database(place: Place<'_>, datname: &str) -> Result<Judgement, String> {
    let role = place.ask_one::<ControlRole>(ROLE).await?;
    if !role.makes_subscriptions() {
        return Ok(Judgement::pass(format!(
            "{datname} has no reverse stream: see G3"
        )));
    }
    let uncarried = place.ask::<Relation>(UNCARRIED).await?;
    let mut missing: Vec<_> = uncarried
        .iter()
        .flat_map(|one| one.lacks(&role))
        .map(|one| one.granted_in(datname))
        .collect();
    missing.extend(subscribe(place, &role, datname).await?);
    let otherwise = format!(
        "{} may carry back every table and sequence of {datname}",
        role.role
    );
    Ok(missing::judge(
        place.name(),
        &role.role,
        &missing,
        otherwise,
    ))
}

impl Relation {
    fn lacks(&self, role: &ControlRole) -> Vec<Missing> {
        let grant = if self.owner_is_superuser {
            let kind = if self.sequence { "SEQUENCE" } else { "TABLE" };
            format!(
                "ALTER {kind} {} OWNER TO {}",
                self.name,
                identifier(&role.role)
            )
        } else {
            grant_role(&self.owner, &role.role, role.version)
        };
        let object = format!("{}, owner {}", self.name, self.owner);
        let lacks = |right| Missing::new(right, object.clone(), grant.clone());
        if self.sequence {
            return vec![lacks(CARRY_SEQUENCES)];
        }
        let mut missing = Vec::new();
        if !self.inherited {
            missing.push(lacks(PUBLISH_TABLES));
        }
        if !self.may_become && role.version >= WITHOUT_SUPERUSER {
            missing.push(lacks(ACT_FOR_OWNERS));
        }
        missing
    }
}

/// A subscription that connects to nobody.
async fn subscribe(
    place: Place<'_>,
    role: &ControlRole,
    datname: &str,
) -> Result<Option<Missing>, String> {
    let create = format!(
        "CREATE SUBSCRIPTION {TRIED_SUBSCRIPTION} CONNECTION 'password=none' PUBLICATION {PUBLICATION} \
         WITH (connect = false, create_slot = false, enabled = false, slot_name = NONE)"
    );
    let refused = place.refusal(&create).await?;
    Ok(refused.map(|words| {
        let to = identifier(&role.role);
        let grant = if role.may_subscribe == Some(true) {
            format!("GRANT CREATE ON DATABASE {} TO {to}", identifier(datname))
        } else {
            format!("GRANT pg_create_subscription TO {to}")
        };
        Missing::new(SUBSCRIBE, words, grant)
    }))
}

const NO_SLOT: &str = "pointsman_no_such_slot";
const TRIED_SUBSCRIPTION: &str = "pointsman_tried";
/// A server has a few such roles; each is one round trip.
const LOGINS: usize = 50;
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const UNDEFINED_OBJECT: &str = "42704";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::postgres::checks::place::rows;

    fn role(version: i64) -> ControlRole {
        serde_json::from_value(json!({
            "role": "pointsman", "version": version, "superuser": false, "on_rds": false, "may_subscribe": true
        }))
        .unwrap()
    }

    fn lacks(change: serde_json::Value, version: i64) -> Vec<(String, String)> {
        let mut row = json!({
            "name": "public.t", "sequence": false, "owner": "app", "owner_is_superuser": false,
            "inherited": false, "may_become": false
        });
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        let relations: Vec<Relation> = rows(json!([row]));
        let missing = relations[0].lacks(&role(version));
        let values = missing.iter().map(|one| serde_json::to_value(one).unwrap());
        values
            .map(|value| {
                let text = |key: &str| value[key].as_str().unwrap().to_owned();
                (text("may_not"), text("grant"))
            })
            .collect()
    }

    #[test]
    fn a_table_is_published_by_its_owner_and_applied_as_it() {
        let grant = "GRANT \"app\" TO \"pointsman\" WITH INHERIT TRUE, SET TRUE".to_owned();
        assert_eq!(
            lacks(json!({}), 160_000),
            [
                (PUBLISH_TABLES.action.to_owned(), grant.clone()),
                (ACT_FOR_OWNERS.action.to_owned(), grant.clone())
            ]
        );
        assert_eq!(
            lacks(json!({"inherited": true}), 170_000),
            [(ACT_FOR_OWNERS.action.to_owned(), grant)]
        );
    }

    #[test]
    fn nobody_is_told_to_become_a_superuser() {
        let [(_, table), _] = &lacks(json!({"owner_is_superuser": true}), 160_000)[..] else {
            panic!("two rights are missing");
        };
        assert_eq!(table, "ALTER TABLE public.t OWNER TO \"pointsman\"");
        let sequence = lacks(
            json!({"owner_is_superuser": true, "sequence": true}),
            160_000,
        );
        assert_eq!(
            sequence,
            [(
                CARRY_SEQUENCES.action.to_owned(),
                "ALTER SEQUENCE public.t OWNER TO \"pointsman\"".to_owned()
            )]
        );
    }
}
