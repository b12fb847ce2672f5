//! What becomes of each server that readers use.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_catalog::ServerName;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    CheckContext, Finding,
    check::{Check, Judgement, count},
    place::Place,
    replica::{RECEIVER, Receiver, STANDBYS, Standby, own_standby},
};

pub(super) const READERS: Check = Check::warn("S10", "readers.every-endpoint-has-a-fate");

/// The fate of a server that reader routes point at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ReaderFate {
    /// It is the target: it serves readers again once it is open.
    GoesWithTarget,
    /// It is the source: readers go to the target after the switch.
    LeavesAtFence,
    /// It follows the source, and cannot follow the target without being rebuilt.
    LeavesUntilRebuilt,
}

#[derive(Debug, Serialize)]
struct ReaderEndpoint<'a> {
    server: &'a ServerName,
    databases: Vec<&'a str>,
    fate: ReaderFate,
}

pub(super) async fn run(ctx: &CheckContext<'_>) -> Vec<Finding> {
    let began = Instant::now();
    let routes = judge_routes(&endpoints(ctx));
    let (source, target) = (Place::source(ctx), Place::target(ctx));
    let (standbys, receiver) = futures_util::join!(
        source.ask::<Standby>(STANDBYS),
        target.ask_one::<Receiver>(RECEIVER),
    );
    let others = standbys.and_then(|standbys| {
        let receiver = receiver?;
        Ok(judge_standbys(source.server, &receiver, &standbys))
    });
    vec![
        READERS.finding(ctx, "fleet", began, Ok(routes)),
        READERS.finding(ctx, source.location(), began, others),
    ]
}

fn endpoints<'a>(ctx: &CheckContext<'a>) -> Vec<ReaderEndpoint<'a>> {
    let mut servers: BTreeMap<&ServerName, BTreeSet<&str>> = BTreeMap::new();
    for (database, readers) in ctx.readers {
        for server in readers {
            servers.entry(server).or_default().insert(database.as_str());
        }
    }
    servers
        .into_iter()
        .map(|(server, databases)| ReaderEndpoint {
            server,
            databases: databases.into_iter().collect(),
            fate: if *server == ctx.target.name {
                ReaderFate::GoesWithTarget
            } else if *server == ctx.source.name {
                ReaderFate::LeavesAtFence
            } else {
                ReaderFate::LeavesUntilRebuilt
            },
        })
        .collect()
}

fn judge_routes(endpoints: &[ReaderEndpoint<'_>]) -> Judgement {
    let lost: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.fate == ReaderFate::LeavesUntilRebuilt)
        .collect();
    let judgement = match lost.first() {
        Some(first) => Judgement::warn(
            format!(
                "the reader routes lose {} at the fence until it is rebuilt as a standby of the \
                 target (first: {}, reader of {})",
                count(lost.len(), "server"),
                first.server,
                first.databases.join(", ")
            ),
            "see that the target can carry its readers, or attach a standby to the target first",
        ),
        None => Judgement::pass(
            "every server of the reader routes is the source or the target; after the switch \
             readers go to the target",
        ),
    };
    judgement.with(endpoints)
}

/// The closing of the source's databases travels to all of its standbys; all but the
/// target then stay on the old timeline.
fn judge_standbys(source: &str, receiver: &Receiver, standbys: &[Standby]) -> Judgement {
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
        "pause whatever could promote it until the migration is complete, and plan its rebuild",
    )
    .with(&others)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checks::check::{Judged, rows};

    fn routed(fates: &[ReaderFate]) -> Judgement {
        let name = ServerName::new("some").unwrap();
        let endpoints: Vec<_> = fates
            .iter()
            .map(|&fate| ReaderEndpoint {
                server: &name,
                databases: vec!["orders"],
                fate,
            })
            .collect();
        judge_routes(&endpoints)
    }

    #[test]
    fn readers_on_source_and_target_pass_and_another_standby_warns() {
        let both = [ReaderFate::GoesWithTarget, ReaderFate::LeavesAtFence];
        assert_eq!(routed(&both).result, Judged::Pass);
        assert_eq!(routed(&[]).result, Judged::Pass);
        let judgement = routed(&[ReaderFate::LeavesUntilRebuilt]);
        assert_eq!(judgement.result, Judged::Warn);
        assert!(
            judgement.says.contains("first: some, reader of orders"),
            "{judgement:?}"
        );
    }

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
        let judge = |found| judge_standbys("blue", &receiver, &rows(found));
        assert_eq!(judge(json!([standby(9, "green")])).result, Judged::Pass);
        let judgement = judge(json!([standby(9, "green"), standby(10, "reports")]));
        assert_eq!(judgement.result, Judged::Warn);
        assert!(
            judgement.says.contains("reports at 10.0.0.9"),
            "{judgement:?}"
        );
        assert_eq!(judgement.evidence.len(), 1);
    }
}
