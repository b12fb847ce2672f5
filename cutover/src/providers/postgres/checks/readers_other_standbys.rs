//! Standbys of the source besides the target.

use async_trait::async_trait;

use super::{
    place::Place,
    replication::{RECEIVER, Receiver, STANDBYS, Standby, own_standby},
};
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, READERS, count};

#[derive(Debug)]
pub(super) struct OtherStandbys;

#[async_trait]
impl Check for OtherStandbys {
    fn spec(&self) -> CheckSpec {
        READERS
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let (source, target) = (Place::source(ctx), Place::target(ctx));
        let (standbys, receiver) = futures_util::join!(
            source.ask::<Standby>(STANDBYS),
            target.ask_one::<Receiver>(RECEIVER),
        );
        let judgement = standbys.and_then(|standbys| {
            let receiver = receiver?;
            Ok(judge(source.name(), &receiver, &standbys))
        });
        vec![source.finding(READERS, began, judgement)]
    }
}

/// The closing of the source's databases travels to all of its standbys; all but the
/// target then stay on the old timeline.
fn judge(source: &str, receiver: &Receiver, standbys: &[Standby]) -> Judgement {
    let own = own_standby(receiver, standbys).map(|standby| standby.pid);
    let others: Vec<_> = standbys
        .iter()
        .filter(|standby| Some(standby.pid) != own)
        .collect();
    let Some(first) = others.first() else {
        return Judgement::pass(format!("{source} has no standby but the target"));
    };
    Judgement::warn(
        format!(
            "{} of {source} besides the target (first: {} at {}, slot {}): the fence refuses its \
             readers as well, and it must be rebuilt to follow the target; nothing else may \
             promote it",
            count(others.len(), "standby"),
            first.application_name,
            first.client_addr.as_deref().unwrap_or("a local socket"),
            first.slot_name.as_deref().unwrap_or("none")
        ),
        "pause everything that could promote it until the migration is complete, and plan its rebuild",
    )
    .with(&others)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    #[test]
    fn a_standby_that_is_not_the_target_is_named() {
        let receiver: Receiver = serde_json::from_value(json!({
            "in_recovery": true, "received": null, "replayed": null, "replay_pause": null,
            "pid": 8, "status": "streaming", "sender_host": null, "sender_port": null,
            "slot_name": "green"
        }))
        .unwrap();
        let standby = |pid: i64, slot: &str| {
            json!({
                "pid": pid, "usename": "repl", "application_name": slot, "client_addr": "10.0.0.9",
                "state": "streaming", "sync_state": "async", "replay_lsn": "0/1",
                "slot_name": slot, "behind_bytes": 0, "last_reply_s": 0.0
            })
        };
        let judged = |found| judge("blue", &receiver, &rows(found));
        assert_eq!(judged(json!([standby(9, "green")])).grade, Grade::Pass);
        let judgement = judged(json!([standby(9, "green"), standby(10, "reports")]));
        assert_eq!(judgement.grade, Grade::Warn);
        assert!(
            judgement.message.contains("reports at 10.0.0.9"),
            "{judgement:?}"
        );
        assert_eq!(judgement.evidence.len(), 1);
    }
}
