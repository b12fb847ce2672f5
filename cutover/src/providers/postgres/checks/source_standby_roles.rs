//! Roles that keep LOGIN in the bake because a standby streams by them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    control_role::ControlRole,
    place::Place,
    replication::{RECEIVER, Receiver},
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct StandbyRoles;

const SPEC: CheckSpec = CheckSpec::warn("S19", "source.standby-roles");

/// Physical replication, archivers included. From superusers arming takes LOGIN all the same.
const STREAMERS: &str = "
SELECT r.usename::text AS role, r.application_name, s.slot_name::text AS slot_name
FROM pg_stat_replication r
JOIN pg_stat_activity a ON a.pid = r.pid
JOIN pg_roles o ON o.oid = r.usesysid
LEFT JOIN pg_replication_slots s ON s.active_pid = r.pid
WHERE a.datname IS NULL AND NOT o.rolsuper AND o.rolname <> current_user
ORDER BY 1, 2";

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Streamer {
    role: String,
    application_name: String,
    slot_name: Option<String>,
}

#[async_trait]
impl Check for StandbyRoles {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let place = Place::source(ctx);
        let began = ctx.clock.monotonic();
        let judgement = async {
            let role = ControlRole::of(place).await?;
            let mut found = match role.superuser {
                true => place.ask::<Streamer>(STREAMERS).await?,
                // CONNECT keeps them out of databases.
                false => Vec::new(),
            };
            let receiver = Place::target(ctx).ask_one::<Receiver>(RECEIVER).await?;
            without_target(&receiver, &mut found);
            Ok(judge(place.name(), &found))
        };
        vec![place.finding(SPEC, began, judgement.await)]
    }
}

/// The target streams until it is promoted.
fn without_target(receiver: &Receiver, found: &mut Vec<Streamer>) {
    let own = found
        .iter()
        .position(|streamer| streamer.slot_name == receiver.slot_name);
    if let Some(own) = own {
        found.remove(own);
    }
}

fn judge(server: &str, found: &[Streamer]) -> Judgement {
    let Some(first) = found.first() else {
        return Judgement::pass(format!(
            "no role keeps its login to {server} in the bake for a standby that streams by it"
        ));
    };
    Judgement::warn(
        format!(
            "{} from {server} beside the target by a role that keeps LOGIN in the bake (first: {} by {}): \\
             whoever logs in by it for replication in a database can write there; such a session is ended and \\
             named when it is seen, and so is what it wrote",
            match found.len() {
                1 => "1 receiver streams".to_owned(),
                n => format!("{} stream", count(n, "receiver")),
            },
            first.application_name,
            first.role
        ),
        format!(
            "take from {} the right to write, and its password from whoever needs it for no standby",
            first.role
        ),
    )
    .with(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    fn judged(slots: &[Option<&str>]) -> Judgement {
        let receiver: Receiver = serde_json::from_value(json!({
            "in_recovery": true, "received": null, "replayed": null, "replay_pause": null,
            "pid": 8, "status": "streaming", "sender_host": null, "sender_port": null,
            "slot_name": "green"
        }))
        .unwrap();
        let streamer = |slot: &Option<&str>| json!({"role": "repl", "application_name": "violet", "slot_name": slot});
        let found: Vec<_> = slots.iter().map(streamer).collect();
        let mut found: Vec<Streamer> = rows(json!(found));
        without_target(&receiver, &mut found);
        judge("blue", &found)
    }

    #[test]
    fn s19_a_role_that_keeps_its_login_for_a_standby_is_named_and_the_targets_is_not() {
        assert_eq!(judged(&[]).grade, Grade::Pass);
        assert_eq!(judged(&[Some("green")]).grade, Grade::Pass);
        for slots in [&[Some("green"), None][..], &[Some("violet")]] {
            let judgement = judged(slots);
            assert_eq!(judgement.grade, Grade::Warn);
            assert!(
                judgement.message.contains("violet by repl"),
                "{judgement:?}"
            );
            assert_eq!(judgement.evidence.len(), 1);
        }
    }
}
