//! The role of the write probe.

mod excess;

use async_trait::async_trait;
use serde::Deserialize;

use super::{
    super::{
        grants::WRITE_PROBE,
        preparation::grant_probe,
        statements::{identifier, literal},
    },
    control_role::ControlRole,
    missing::{self, Missing},
    place::Place,
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};
use excess::Excess;

#[derive(Debug)]
pub(super) struct ProbeRole;

const SPEC: CheckSpec = CheckSpec::block("G4", "rights.probe-role");

/// `may_write` is null where the table has yet to be made.
const ROLE: &str = "
SELECT r.rolcanlogin AS may_log_in, has_database_privilege(r.oid, current_database(), 'CONNECT') AS may_connect,
       CASE WHEN to_regclass('pointsman.probe') IS NOT NULL
         THEN has_schema_privilege(r.oid, 'pointsman', 'USAGE')
           AND has_table_privilege(r.oid, 'pointsman.probe', 'SELECT')
           AND has_table_privilege(r.oid, 'pointsman.probe', 'INSERT')
           AND has_table_privilege(r.oid, 'pointsman.probe', 'UPDATE') END AS may_write
FROM pg_roles r WHERE r.rolname = ";

#[derive(Debug, Deserialize)]
struct Probing {
    may_log_in: bool,
    may_connect: bool,
    may_write: Option<bool>,
}

#[async_trait]
impl Check for ProbeRole {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    /// Roles are the whole server's, and come from the source.
    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let place = Place::source(ctx);
        let began = ctx.clock.monotonic();
        let judgement = match probing(ctx) {
            Ok(role) => look_at_server(place, &role).await,
            Err(why) => Ok(blind("the databases", &why)),
        };
        vec![place.finding(SPEC, began, judgement)]
    }

    /// The role of the target, which probes after the switch, is looked for on the source: roles
    /// and their rights come from there.
    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let place = Place::source(ctx).database(datname);
        let began = ctx.clock.monotonic();
        let granted = ctx.on_source.probe_role().ok().flatten();
        let able = ctx.on_target.probe_login(datname);
        let judgement = match probing(ctx).and_then(|role| able.map(|()| role)) {
            Ok(role) => look_into_database(place, datname, granted, &role).await,
            Err(why) => Ok(blind(datname, &why)),
        };
        vec![place.finding(SPEC, began, judgement)]
    }
}

/// The role that probes after the switch.
fn probing(ctx: &CheckContext<'_>) -> Result<String, String> {
    let role = ctx.on_target.probe_role()?;
    role.ok_or_else(|| "no `probe` is declared for the target".to_owned())
}

/// Nothing is probed, so the probe never fires.
fn blind(watched: &str, why: &str) -> Judgement {
    Judgement::warn(
        format!("the write probe will not watch {watched} after the switch: {why}"),
        "declare `probe` of both servers with sslmode=verify-full, for a role that \
         `pointsman database grants` makes; until then a target that takes no writes sends nobody \
         back by itself",
    )
}

async fn look_at_server(place: Place<'_>, role: &str) -> Result<Judgement, String> {
    if ControlRole::of(place).await?.name == role {
        return Ok(Judgement::fail(
            format!(
                "`probe` of the target names the control role {role} of {}, which may do more than \
                 write the probe table",
                place.name()
            ),
            "let `probe` name a role of its own, which `pointsman database grants` makes",
        ));
    }
    let found = Excess::on_server(place, role).await?;
    let otherwise = format!("{role} has no rights on {} as a whole", place.name());
    Ok(excess::judge(place.name(), role, &found, otherwise))
}

async fn look_into_database(
    place: Place<'_>,
    datname: &str,
    granted: Option<String>,
    role: &str,
) -> Result<Judgement, String> {
    let select = format!("{ROLE}{}", literal(role));
    let found = place.ask::<Probing>(&select).await?;
    let is_granted = granted.as_deref() == Some(role);
    let missing = lacks(found.first(), role, datname, is_granted)
        .map(|(why, grant)| Missing::new(WRITE_PROBE, why, grant).granted_in(datname));
    let may = format!("{role} may write the probe table of {datname}");
    if missing.is_some() || ControlRole::of(place).await?.name == role {
        let missing = missing.as_slice();
        return Ok(missing::judge(place.name(), role, missing, may));
    }
    let excess = Excess::in_database(place, role).await?;
    let otherwise = format!("{may}, and nothing else there");
    Ok(excess::judge(place.name(), role, &excess, otherwise))
}

/// Why `role` may not probe, and what mends that. A table that is not there yet is granted to
/// the source's probe role when it is made.
fn lacks(
    found: Option<&Probing>,
    role: &str,
    datname: &str,
    is_granted: bool,
) -> Option<(&'static str, String)> {
    let name = identifier(role);
    Some(match found {
        None => ("there is no such role", format!("CREATE ROLE {name} LOGIN")),
        Some(found) if !found.may_log_in => {
            ("it may not log in", format!("ALTER ROLE {name} LOGIN"))
        }
        Some(found) if !found.may_connect => (
            "it may not connect",
            format!(
                "GRANT CONNECT ON DATABASE {} TO {name}",
                identifier(datname)
            ),
        ),
        Some(found) if found.may_write == Some(false) => ("it is not granted", grant_probe(role)),
        Some(found) if found.may_write.is_none() && !is_granted => (
            "the probe role of the source is another one",
            "declare the same role in `probe` of both servers".to_owned(),
        ),
        Some(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_not_there_yet_is_granted_to_the_probe_role_of_the_source() {
        let found = |may_write| Probing {
            may_log_in: true,
            may_connect: true,
            may_write,
        };
        let lacks = |may_write, is_granted| {
            lacks(Some(&found(may_write)), "p", "orders", is_granted).map(|(why, _)| why)
        };
        assert_eq!(lacks(Some(true), false), None);
        assert_eq!(lacks(None, true), None);
        assert_eq!(
            lacks(None, false),
            Some("the probe role of the source is another one")
        );
        assert_eq!(lacks(Some(false), true), Some("it is not granted"));
    }
}
