//! The control role's rights that a switch cannot do without, those of the fence apart.

use async_trait::async_trait;
use serde::Deserialize;

use super::{
    super::{
        grants::{CUT_OFF_STANDBY, ENTER_DATABASE, KEEP_RECORD, MAKE_PROBE_TABLE, PROMOTE},
        preparation::CREATE_IN_DATABASE,
        record,
        statements::{identifier, literal},
    },
    control_role::ControlRole,
    missing::{self, Missing, grant_role},
    place::Place,
    replication::{RECEIVER, Receiver, STANDBYS, Standby, own_standby},
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct RightsForSwitch;

const SPEC: CheckSpec = CheckSpec::block("G1", "rights.switch");

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

/// A migration that another control role ran, and that could not take it down.
const SCHEMA_OF_ANOTHER_ROLE: &str = "SELECT pg_get_userbyid(nspowner)::text AS name FROM pg_namespace \
     WHERE nspname = 'pointsman' AND NOT pg_has_role(nspowner, 'USAGE')";

#[derive(Debug, Deserialize)]
struct Fact {
    holds: bool,
}

#[async_trait]
impl Check for RightsForSwitch {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let (source, target) = futures_util::join!(on_source(ctx), on_target(ctx));
        vec![source, target]
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        let began = ctx.clock.monotonic();
        let judgement = make_probe_table(place, datname).await;
        vec![place.finding(SPEC, began, judgement)]
    }
}

async fn on_source(ctx: &CheckContext<'_>) -> Finding {
    let place = Place::source(ctx);
    let began = ctx.clock.monotonic();
    let judgement = async {
        let role = ControlRole::of(place).await?;
        let mut missing = unenterable(ctx, place, &role).await?;
        missing.extend(keep_record(place, &role).await?);
        missing.extend(cut_off(ctx, place, &role).await?);
        let otherwise = format!(
            "{} may connect to every database of {} and keep the fence record",
            role.name,
            place.name()
        );
        Ok(missing::judge(
            place.name(),
            &role.name,
            &missing,
            otherwise,
        ))
    };
    place.finding(SPEC, began, judgement.await)
}

async fn on_target(ctx: &CheckContext<'_>) -> Finding {
    let place = Place::target(ctx);
    let began = ctx.clock.monotonic();
    let judgement = async {
        let role = ControlRole::of(place).await?;
        let on_source = ControlRole::of(Place::source(ctx)).await?;
        let mut missing = unenterable(ctx, place, &role).await?;
        missing.extend(take_over_record(place, &role, &on_source.name).await?);
        if !role.may_promote && ctx.promotion_by_api.is_none() {
            let grant = format!(
                "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO {}",
                identifier(&role.name)
            );
            missing.push(Missing::new(PROMOTE, "", grant).granted_in("postgres"));
        }
        let otherwise = format!(
            "{} may connect to every database of {} and promote it",
            role.name,
            place.name()
        );
        Ok(missing::judge(
            place.name(),
            &role.name,
            &missing,
            otherwise,
        ))
    };
    place.finding(SPEC, began, judgement.await)
}

/// The databases of the migration that the control role cannot connect to.
async fn unenterable(
    ctx: &CheckContext<'_>,
    place: Place<'_>,
    role: &ControlRole,
) -> Result<Vec<Missing>, String> {
    let of_migration: Vec<_> = ctx
        .moving()
        .into_iter()
        .chain(ctx.staying_closed())
        .map(literal)
        .collect();
    if of_migration.is_empty() {
        return Ok(Vec::new());
    }
    let select = format!(
        "SELECT datname::text AS name FROM pg_database WHERE datname IN ({}) \
         AND NOT has_database_privilege(oid, 'CONNECT') ORDER BY 1",
        of_migration.join(", ")
    );
    let found = place.ask::<Named>(&select).await?;
    let missing = found.into_iter().map(|Named { name }| {
        let grant = format!(
            "GRANT CONNECT ON DATABASE {} TO {}",
            identifier(&name),
            identifier(&role.name)
        );
        Missing::new(ENTER_DATABASE, name, grant)
    });
    Ok(missing.collect())
}

/// Makes and uses the table as a migration will.
async fn keep_record(place: Place<'_>, role: &ControlRole) -> Result<Option<Missing>, String> {
    let statements = format!("{}; {}", record::CREATE, record::TOUCH);
    let Some(refusal) = place.refusal(&statements).await? else {
        return Ok(None);
    };
    let grant = making_the_schema(place, "postgres", role).await?;
    Ok(Some(
        Missing::new(KEEP_RECORD, refusal, grant).granted_in("postgres"),
    ))
}

/// What lets the control role make schema `pointsman` in `datname`, or have it.
async fn making_the_schema(
    place: Place<'_>,
    datname: &str,
    role: &ControlRole,
) -> Result<String, String> {
    let others = place.ask::<Named>(SCHEMA_OF_ANOTHER_ROLE).await?;
    Ok(match others.first() {
        Some(Named { name }) => format!(
            "-- schema pointsman belongs to {name}: a row in pointsman.fence of database postgres is the \
             only record of a server that a migration has closed (pointsman recover shows it). Where there \
             is none: DROP SCHEMA pointsman CASCADE"
        ),
        None => format!(
            "GRANT CREATE ON DATABASE {} TO {}",
            identifier(datname),
            identifier(&role.name)
        ),
    })
}

/// The record travels with its owner, the control role of the source.
async fn take_over_record(
    place: Place<'_>,
    role: &ControlRole,
    on_source: &str,
) -> Result<Option<Missing>, String> {
    if role.superuser || role.name == on_source {
        return Ok(None);
    }
    let select = format!(
        "SELECT pg_has_role({}, 'USAGE') AS holds",
        literal(on_source)
    );
    if place.ask_one::<Fact>(&select).await?.holds {
        return Ok(None);
    }
    let grant = grant_role(on_source, &role.name, role.version);
    Ok(Some(Missing::new(
        KEEP_RECORD,
        format!("that of {on_source}"),
        grant,
    )))
}

/// A walsender is ended like any session: not where its role is a superuser.
async fn cut_off(
    ctx: &CheckContext<'_>,
    place: Place<'_>,
    role: &ControlRole,
) -> Result<Option<Missing>, String> {
    if role.superuser {
        return Ok(None);
    }
    let standbys = place.ask::<Standby>(STANDBYS).await?;
    let receiver = Place::target(ctx).ask_one::<Receiver>(RECEIVER).await?;
    let Some(user) = own_standby(&receiver, &standbys).and_then(|one| one.usename.clone()) else {
        return Ok(None);
    };
    let select = format!(
        "SELECT coalesce(bool_or(rolsuper), false) AS holds FROM pg_roles WHERE rolname = {}",
        literal(&user)
    );
    if !place.ask_one::<Fact>(&select).await?.holds {
        return Ok(None);
    }
    let remedy =
        "let the target stream as a role with REPLICATION and without superuser (primary_conninfo)";
    Ok(Some(Missing::new(
        CUT_OFF_STANDBY,
        format!("superuser {user}"),
        remedy,
    )))
}

async fn make_probe_table(place: Place<'_>, datname: &str) -> Result<Judgement, String> {
    let role = ControlRole::of(place).await?;
    let mut missing = Vec::new();
    if let Some(refusal) = place.refusal(CREATE_IN_DATABASE).await? {
        let grant = making_the_schema(place, datname, &role).await?;
        missing.push(Missing::new(MAKE_PROBE_TABLE, refusal, grant).granted_in(datname));
    }
    let otherwise = format!("{} may make the probe table in {datname}", role.name);
    Ok(missing::judge(
        place.name(),
        &role.name,
        &missing,
        otherwise,
    ))
}
