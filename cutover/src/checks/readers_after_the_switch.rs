//! Each server that readers use, and whether the switch leaves it usable.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use pointsman_catalog::ServerName;
use serde::Serialize;

use super::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct ReaderEndpoints;

const READERS: CheckSpec = CheckSpec::warn("S10", "readers.after-the-switch");

/// What the switch means for a server that reader routes point at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum AfterSwitch {
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
    after_switch: AfterSwitch,
}

#[async_trait]
impl Check for ReaderEndpoints {
    fn spec(&self) -> CheckSpec {
        READERS
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let judgement = judge(&endpoints(ctx));
        vec![READERS.finding(ctx, "fleet", ctx.clock.monotonic(), Ok(judgement))]
    }
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
            after_switch: if *server == ctx.target.name {
                AfterSwitch::GoesWithTarget
            } else if *server == ctx.source.name {
                AfterSwitch::LeavesAtFence
            } else {
                AfterSwitch::LeavesUntilRebuilt
            },
        })
        .collect()
}

fn judge(endpoints: &[ReaderEndpoint<'_>]) -> Judgement {
    let lost: Vec<_> = endpoints
        .iter()
        .filter(|endpoint| endpoint.after_switch == AfterSwitch::LeavesUntilRebuilt)
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
            "see that the target can carry its readers, or attach a standby to the target first; \
             after the migration `flip --readers` sends them to a standby of the new writer",
        ),
        None => Judgement::pass(
            "every server of the reader routes is the source or the target; after the switch \
             readers go to the target, and stay there until `flip --readers` sends them elsewhere",
        ),
    };
    judgement.with(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn routed(servers: &[AfterSwitch]) -> Judgement {
        let name = ServerName::new("some").unwrap();
        let endpoints: Vec<_> = servers
            .iter()
            .map(|&after_switch| ReaderEndpoint {
                server: &name,
                databases: vec!["orders"],
                after_switch,
            })
            .collect();
        judge(&endpoints)
    }

    #[test]
    fn readers_on_source_and_target_pass_and_another_standby_warns() {
        let both = [AfterSwitch::GoesWithTarget, AfterSwitch::LeavesAtFence];
        assert_eq!(routed(&both).grade, Grade::Pass);
        assert_eq!(routed(&[]).grade, Grade::Pass);
        let judgement = routed(&[AfterSwitch::LeavesUntilRebuilt]);
        assert_eq!(judgement.grade, Grade::Warn);
        assert!(
            judgement.message.contains("first: some, reader of orders"),
            "{judgement:?}"
        );
    }
}
