//! The rights that the reverse stream rests on.

mod relation;

use async_trait::async_trait;
use pointsman_catalog::{Conninfo, Server};
use serde::Deserialize;

use super::{
    super::{
        connection::user_in,
        grants::{
            HIDE_PASSWORD, MAKE_SLOTS, MAKE_TEMP_TABLE, STREAM_CHANGES, SUBSCRIBE,
            SUBSCRIBE_WITHOUT_PASSWORD, TAKE_LOGINS,
        },
        statements::{PUBLICATION, RECORDING, identifier, literal, try_to_quieten},
    },
    control_role::ControlRole,
    missing::{self, Missing},
    place::{INSUFFICIENT_PRIVILEGE, Place},
};
use crate::{
    checks::{Check, CheckContext, CheckSpec, Finding, Judgement},
    ports::Tried,
};
use relation::{Relation, UNCARRIED};

#[derive(Debug)]
pub(super) struct RightsForWayBack;

const SPEC: CheckSpec = CheckSpec::block_for_way_back("G2", "rights.way-back");

/// Who else enters a database that only the control role may connect to.
const PASSING: &str = "
SELECT rolname::text AS name, rolsuper AS superuser FROM pg_roles
WHERE rolcanlogin AND rolname <> current_user
  AND (rolsuper OR pg_has_role(oid, (SELECT oid FROM pg_roles WHERE rolname = current_user), 'USAGE'))
ORDER BY 1";

#[derive(Debug, Deserialize)]
struct Streamer {
    may_log_in: bool,
    may_stream: bool,
}

#[derive(Debug, Deserialize)]
struct Recording {
    setting: String,
}

#[derive(Debug, Deserialize)]
struct Passing {
    name: String,
    superuser: bool,
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
    let role = ControlRole::of(place).await?;
    let mut missing: Vec<_> = make_slots(place, &role).await?.into_iter().collect();
    if role.makes_subscriptions() {
        missing.extend(stream_changes(place, &role, ctx.target).await?);
        missing.extend(without_password(&role, ctx));
        missing.extend(take_logins(place, &role).await?);
    }
    let otherwise = format!(
        "{} may arm the reverse stream on {}",
        role.name,
        place.name()
    );
    Ok(missing::judge(
        place.name(),
        &role.name,
        &missing,
        otherwise,
    ))
}

async fn look_at_target(place: Place<'_>) -> Result<Judgement, String> {
    let role = ControlRole::of(place).await?;
    let missing: Vec<_> = make_slots(place, &role).await?.into_iter().collect();
    let otherwise = format!("{} may make reverse slots on {}", role.name, place.name());
    Ok(missing::judge(
        place.name(),
        &role.name,
        &missing,
        otherwise,
    ))
}

/// A server looks for the slot only after it has found that the role may drop one.
async fn make_slots(place: Place<'_>, role: &ControlRole) -> Result<Option<Missing>, String> {
    let drop = format!("SELECT pg_drop_replication_slot({})", literal(NO_SLOT));
    match place.tried(&drop).await? {
        Tried::Refused { sqlstate, .. } if sqlstate == UNDEFINED_OBJECT => Ok(None),
        Tried::Refused { sqlstate, message } if sqlstate == INSUFFICIENT_PRIVILEGE => Ok(Some(
            Missing::new(MAKE_SLOTS, message, role.replicate(&role.name)),
        )),
        other @ (Tried::Works | Tried::Refused { .. }) => Err(format!(
            "dropping a slot that is not there ended as {other:?}"
        )),
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

/// A superuser may subscribe without a password. A password may stand in a service file.
/// <https://www.postgresql.org/docs/current/sql-createsubscription.html>
fn without_password(role: &ControlRole, ctx: &CheckContext<'_>) -> Option<Missing> {
    let target = ctx.target;
    let string = target.replication.as_deref().unwrap_or(&target.control);
    let named = Conninfo::parse(string).is_ok_and(|info| info.get("service").is_some());
    if role.superuser || named || ctx.on_target.hands_over_password() {
        return None;
    }
    let remedy = format!(
        "declare replication_password for server {}, and let its pg_hba.conf ask for it",
        target.name
    );
    Some(Missing::new(SUBSCRIBE_WITHOUT_PASSWORD, "", remedy))
}

/// In the bake the source is open for its apply workers, and for every role that passes its limits.
async fn take_logins(place: Place<'_>, role: &ControlRole) -> Result<Vec<Missing>, String> {
    if role.superuser {
        return Ok(Vec::new());
    }
    let passing = place.ask::<Passing>(PASSING).await?;
    let mut missing = Vec::new();
    for Passing { name, superuser } in passing {
        let take = format!("ALTER ROLE {} NOLOGIN", identifier(&name));
        if place.refusal(&take).await?.is_none() {
            continue;
        }
        let remedy = if superuser {
            format!("{take}, by hand, for as long as the migration bakes")
        } else {
            format!(
                "REVOKE {} FROM {}",
                identifier(&role.name),
                identifier(&name)
            )
        };
        missing.push(Missing::new(TAKE_LOGINS, name, remedy));
    }
    Ok(missing)
}

async fn look_into_database(place: Place<'_>, datname: &str) -> Result<Judgement, String> {
    let role = ControlRole::of(place).await?;
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
    missing.extend(temp_table(place, &role, datname).await?);
    missing.extend(hide_password(place, &role).await?);
    let otherwise = format!(
        "{} may carry back every table and sequence of {datname}",
        role.name
    );
    Ok(missing::judge(
        place.name(),
        &role.name,
        &missing,
        otherwise,
    ))
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
        let to = identifier(&role.name);
        let grant = if role.may_subscribe == Some(true) {
            format!("GRANT CREATE ON DATABASE {} TO {to}", identifier(datname))
        } else {
            format!("GRANT pg_create_subscription TO {to}")
        };
        Missing::new(SUBSCRIBE, words, grant)
    }))
}

/// The connection string of the publisher is copied into one.
async fn temp_table(
    place: Place<'_>,
    role: &ControlRole,
    datname: &str,
) -> Result<Option<Missing>, String> {
    let refused = place
        .refusal("CREATE TEMP TABLE pointsman_tried (n int) ON COMMIT DROP")
        .await?;
    Ok(refused.map(|words| {
        let grant = format!(
            "GRANT TEMPORARY ON DATABASE {} TO {}",
            identifier(datname),
            identifier(&role.name)
        );
        Missing::new(MAKE_TEMP_TABLE, words, grant)
    }))
}

/// Arming refuses where a module would record the password. Its settings can be those of a database.
async fn hide_password(place: Place<'_>, role: &ControlRole) -> Result<Vec<Missing>, String> {
    let Some(words) = place.refusal(&try_to_quieten()).await? else {
        return Ok(Vec::new());
    };
    let recording = place.ask::<Recording>(RECORDING).await?;
    if recording.is_empty() {
        return Err(format!("{words}; and a moment later none of them did"));
    }
    let missing = recording.into_iter().map(|Recording { setting }| {
        let grant = format!(
            "GRANT SET ON PARAMETER {setting} TO {}",
            identifier(&role.name)
        );
        Missing::new(HIDE_PASSWORD, setting, grant)
    });
    Ok(missing.collect())
}

const NO_SLOT: &str = "pointsman_no_such_slot";
const TRIED_SUBSCRIPTION: &str = "pointsman_tried";
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const UNDEFINED_OBJECT: &str = "42704";
