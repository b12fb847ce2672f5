//! Before PostgreSQL 16 only a superuser makes a subscription.
//! <https://www.postgresql.org/docs/16/release-16.html>

use async_trait::async_trait;

use super::{
    super::grants::SUBSCRIBE_BEFORE_16,
    control_role::ControlRole,
    missing::{self, Missing},
    place::Place,
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement};

#[derive(Debug)]
pub(super) struct NoWayBack;

const SPEC: CheckSpec = CheckSpec::warn("G3", "rights.no-way-back");

#[async_trait]
impl Check for NoWayBack {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let place = Place::source(ctx);
        let began = ctx.clock.monotonic();
        let role = ControlRole::of(place).await;
        vec![place.finding(SPEC, began, role.map(|role| judge(place.name(), &role)))]
    }
}

fn judge(server: &str, role: &ControlRole) -> Judgement {
    let version = role.version / 10_000;
    let missing = (!role.makes_subscriptions()).then(|| {
        let remedy = "roll back before the first write; or give this migration a superuser as control role; or \
                      upgrade to 16 first";
        Missing::new(SUBSCRIBE_BEFORE_16, format!("PostgreSQL {version}, no superuser"), remedy)
    });
    let otherwise = format!(
        "PostgreSQL {version} lets {} have a reverse stream on {server}",
        role.name
    );
    missing::judge(server, &role.name, missing.as_slice(), otherwise)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::control_role, *};
    use crate::checks::Grade;

    #[test]
    fn before_16_a_role_without_superuser_has_no_way_back() {
        let judged = |version: i64, superuser: bool| {
            let role = json!({ "version": version, "superuser": superuser });
            judge("blue", &control_role::role(&role))
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
