//! Who else could promote a server of this system: other standbys of the source, and programs that
//! promote by themselves.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    place::Place,
    replication::{RECEIVER, Receiver, STANDBYS, Standby, own_standby},
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct OtherPromoters;

const SPEC: CheckSpec = CheckSpec::block("S6", "replica.other-promoters");

/// Sessions of programs that watch a primary and promote a standby, by how they call themselves.
const MANAGERS: &str = "SELECT DISTINCT application_name FROM pg_stat_activity \
     WHERE application_name ~* '^(patroni|repmgr|stolon|pg_auto|pgautofailover|pacemaker)' ORDER BY 1";

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Manager {
    application_name: String,
}

#[async_trait]
impl Check for OtherPromoters {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let (source, target) = (Place::source(ctx), Place::target(ctx));
        let (standbys, receiver, managers) = futures_util::join!(
            source.ask::<Standby>(STANDBYS),
            target.ask_one::<Receiver>(RECEIVER),
            source.ask::<Manager>(MANAGERS),
        );
        let on_source = standbys.and_then(|standbys| {
            let mut found = others(&receiver?, &standbys);
            found.extend(managers?.iter().map(Promoter::from));
            Ok(judge(source.name(), &found, |name| {
                ctx.waives(SPEC.id, Some(name))
            }))
        });
        let managers = target.ask::<Manager>(MANAGERS).await;
        let on_target = managers.map(|managers| {
            let found: Vec<_> = managers.iter().map(Promoter::from).collect();
            judge(target.name(), &found, |name| {
                ctx.waives(SPEC.id, Some(name))
            })
        });
        vec![
            source.finding(SPEC, began, on_source),
            target.finding(SPEC, began, on_target),
        ]
    }
}

/// A standby, or a program.
#[derive(Debug)]
struct Promoter {
    name: String,
    what: String,
    evidence: Value,
}

impl From<&Manager> for Promoter {
    fn from(manager: &Manager) -> Self {
        Self {
            name: manager.application_name.clone(),
            what: format!("{:?}, which promotes by itself", manager.application_name),
            evidence: json!(manager),
        }
    }
}

/// The standbys of the source besides the target.
fn others(receiver: &Receiver, standbys: &[Standby]) -> Vec<Promoter> {
    let own = own_standby(receiver, standbys).map(|standby| standby.pid);
    let others = standbys.iter().filter(|standby| Some(standby.pid) != own);
    let named = others.map(|standby| Promoter {
        name: standby.application_name.clone(),
        what: format!(
            "standby {:?} at {}, slot {}",
            standby.application_name,
            standby.client_addr.as_deref().unwrap_or("a local socket"),
            standby.slot_name.as_deref().unwrap_or("none")
        ),
        evidence: json!(standby),
    });
    named.collect()
}

/// The closing of the source's databases travels to all of its standbys; all but the
/// target then stay on the old timeline.
fn judge(server: &str, found: &[Promoter], waived: impl Fn(&str) -> bool) -> Judgement {
    let open = found.iter().find(|promoter| !waived(&promoter.name));
    let Some(first) = open.or_else(|| found.first()) else {
        return Judgement::pass(format!(
            "nothing but this migration is seen to promote for {server}"
        ));
    };
    let message = format!(
        "{} beside {server} and the target (first: {}): a standby that somebody promotes during the migration is a \
         second primary; the fence refuses the readers of such a standby as well, and it must be rebuilt to follow \
         the target",
        count(found.len(), "possible promoter"),
        first.what
    );
    let remedy = format!(
        "pause whatever promotes until the migration is complete, then create the migration with --waive \
         'S6={}' for each; plan the rebuild of other standbys",
        first.name
    );
    let mut judgement = match open {
        Some(_) => Judgement::fail(message, remedy),
        None => Judgement::warn(format!("{message}; waived"), remedy),
    };
    judgement
        .evidence
        .extend(found.iter().map(|promoter| promoter.evidence.clone()));
    judgement
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    fn standbys(slots: &[&str]) -> Vec<Promoter> {
        let receiver: Receiver = serde_json::from_value(json!({
            "in_recovery": true, "received": null, "replayed": null, "replay_pause": null,
            "pid": 8, "status": "streaming", "sender_host": null, "sender_port": null,
            "slot_name": "green"
        }))
        .unwrap();
        let standby = |(pid, slot): (usize, &&str)| {
            json!({
                "pid": pid, "usename": "repl", "application_name": slot, "client_addr": "10.0.0.9",
                "state": "streaming", "sync_state": "async", "replay_lsn": "0/1",
                "slot_name": slot, "behind_bytes": 0, "last_reply_s": 0.0
            })
        };
        let found: Vec<_> = slots.iter().enumerate().map(standby).collect();
        others(&receiver, &rows(json!(found)))
    }

    #[test]
    fn a_standby_that_is_not_the_target_blocks_until_it_is_waived_by_name() {
        let judged =
            |slots: &[&str], waived: &str| judge("blue", &standbys(slots), |name| name == waived);
        assert_eq!(judged(&["green"], "").grade, Grade::Pass);
        let judgement = judged(&["green", "reports"], "");
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(
            judgement.message.contains("\"reports\" at 10.0.0.9"),
            "{judgement:?}"
        );
        assert!(judgement.remedy.contains("'S6=reports'"), "{judgement:?}");
        assert_eq!(judgement.evidence.len(), 1);
        assert_eq!(judged(&["green", "reports"], "reports").grade, Grade::Warn);
        let judgement = judged(&["green", "reports", "red"], "reports");
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.remedy.contains("'S6=red'"), "{judgement:?}");
    }

    #[test]
    fn a_program_that_promotes_is_named_too() {
        let patroni = Manager {
            application_name: "Patroni".to_owned(),
        };
        let judgement = judge("blue", &[Promoter::from(&patroni)], |_| false);
        assert_eq!(judgement.grade, Grade::Fail);
        assert!(judgement.remedy.contains("'S6=Patroni'"), "{judgement:?}");
    }
}
