//! Before PostgreSQL 16 only a superuser makes a subscription.
//! <https://www.postgresql.org/docs/16/release-16.html>

use async_trait::async_trait;
use serde::Deserialize;

use super::{
    super::grants::SUBSCRIBE_BEFORE_16,
    missing::{self, Missing},
    place::Place,
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct NoWayBack;

const SPEC: CheckSpec = CheckSpec::warn("G3", "rights.no-way-back");

const ROLE: &str = "
SELECT current_user::text AS role, current_setting('server_version_num')::int AS version,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser";

#[derive(Debug, Deserialize)]
struct ControlRole {
    role: String,
    version: i64,
    superuser: bool,
}

#[async_trait]
impl Check for NoWayBack {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let place = Place::source(ctx);
        let began = ctx.clock.monotonic();
        let role = place.ask_one::<ControlRole>(ROLE).await;
        vec![place.finding(SPEC, began, role.map(|role| judge(place.name(), &role)))]
    }
}

fn judge(server: &str, role: &ControlRole) -> Judgement {
    let version = role.version / 10_000;
    let can = role.superuser || role.version >= WITHOUT_SUPERUSER;
    let missing = (!can).then(|| {
        let remedy = "roll back before the first write; or give this migration a superuser as control role; or \
                      upgrade to 16 first";
        Missing::new(SUBSCRIBE_BEFORE_16, format!("PostgreSQL {version}, no superuser"), remedy)
    });
    let otherwise = format!(
        "PostgreSQL {version} lets {} have a reverse stream on {server}",
        role.role
    );
    missing::judge(server, &role.role, missing.as_slice(), otherwise)
}

/// `server_version_num` of the first release with `pg_create_subscription`.
pub(super) const WITHOUT_SUPERUSER: i64 = 160_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    #[test]
    fn before_16_a_role_without_superuser_has_no_way_back() {
        let judged = |version, superuser| {
            let role = "master".to_owned();
            judge(
                "blue",
                &ControlRole {
                    role,
                    version,
                    superuser,
                },
            )
        };
        let warning = judged(150_018, false);
        assert_eq!(warning.grade, Grade::Warn);
        assert!(
            warning
                .message
                .contains("no way back after the first write"),
            "{warning:?}"
        );
        assert_eq!(judged(150_018, true).grade, Grade::Pass);
        assert_eq!(judged(160_000, false).grade, Grade::Pass);
    }
}
