//! Whether a server's name in the catalogue leads to one server.

use async_trait::async_trait;
use serde::Serialize;

use super::place::Place;
use crate::{
    checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count},
    ports::{HostSeen, Instance},
};

#[derive(Debug)]
pub(super) struct OneServer;

const SPEC: CheckSpec = CheckSpec::block("C82", "control.one-server");

/// One host, as evidence.
#[derive(Debug, Serialize)]
struct Shown {
    field: &'static str,
    host: String,
    leads_to: String,
}

#[async_trait]
impl Check for OneServer {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let (source, target) =
            futures_util::join!(on_server(Place::source(ctx)), on_server(Place::target(ctx)),);
        vec![source, target]
    }
}

async fn on_server(place: Place<'_>) -> Finding {
    let began = place.clock().monotonic();
    let seen = place.hosts().await;
    let judgement = seen.and_then(|seen| judge(place.name(), &seen));
    place.finding(SPEC, began, judgement)
}

/// The error is that no host says which server it leads to.
fn judge(name: &str, seen: &[HostSeen]) -> Result<Judgement, String> {
    if seen.is_empty() {
        return Ok(Judgement::pass(format!(
            "each connection string of {name} names one host"
        )));
    }
    let mut instances: Vec<&Instance> = Vec::new();
    let mut silent = Vec::new();
    for host in seen {
        match &host.leads_to {
            Ok(instance) => instances.push(instance),
            Err(reason) => silent.push(format!("{} in `{}`: {reason}", host.host, host.field)),
        }
    }
    instances.sort_unstable();
    instances.dedup();
    let shown: Vec<_> = seen.iter().map(Shown::of).collect();
    let silent = silent.join("; ");
    let judgement = match (instances.as_slice(), silent.as_str()) {
        ([], reasons) => return Err(reasons.to_owned()),
        ([_], "") => Judgement::pass(format!(
            "all {} in the connection strings of {name} lead to one server",
            count(seen.len(), "host")
        )),
        ([_], reasons) => Judgement::warn(
            format!("which server these hosts of {name} lead to cannot be told: {reasons}"),
            format!(
                "make them answer, or take them out of host= of server {name}: a session goes there \
                 when the others do not answer"
            ),
        ),
        (_several, _) => {
            let each: Vec<_> = shown.iter().map(Shown::phrase).collect();
            Judgement::fail(
                format!(
                    "the hosts of {name} lead to different servers, and a fence that is proved on one \
                     says nothing of the other: {}",
                    each.join("; ")
                ),
                format!(
                    "leave in host= of server {name} the addresses of one server; declare the other \
                     one under a name of its own"
                ),
            )
        }
    };
    Ok(judgement.with(&shown))
}

impl Shown {
    fn of(seen: &HostSeen) -> Self {
        let leads_to = match &seen.leads_to {
            Ok(found) => {
                let role = if found.in_recovery {
                    "standby"
                } else {
                    "primary"
                };
                format!(
                    "a {role} of system identifier {}, started at {} (Unix time)",
                    found.system_identifier, found.started
                )
            }
            Err(reason) => format!("not known: {reason}"),
        };
        Self {
            field: seen.field,
            host: seen.host.clone(),
            leads_to,
        }
    }

    fn phrase(&self) -> String {
        format!("{} in `{}` to {}", self.host, self.field, self.leads_to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Grade;

    fn seen(host: &str, leads_to: Result<(&str, bool, &str), &str>) -> HostSeen {
        HostSeen {
            field: "control",
            host: host.to_owned(),
            leads_to: leads_to
                .map(|(identifier, in_recovery, started)| Instance {
                    system_identifier: identifier.to_owned(),
                    in_recovery,
                    started: started.to_owned(),
                })
                .map_err(str::to_owned),
        }
    }

    #[test]
    fn a_primary_and_its_standby_are_two_servers() {
        let primary = seen("a", Ok(("7", false, "1.5")));
        let standby = seen("b", Ok(("7", true, "2.5")));
        let judgement = judge("blue", &[primary.clone(), standby]).unwrap();
        assert_eq!(judgement.grade, Grade::Fail);
        for part in ["a in `control` to a primary", "b in `control` to a standby"] {
            assert!(judgement.message.contains(part), "{judgement:?}");
        }
        let same = judge("blue", &[primary.clone(), primary]).unwrap();
        assert_eq!(same.grade, Grade::Pass);
    }

    #[test]
    fn a_host_that_says_nothing_is_named_and_none_that_says_anything_is_no_answer() {
        let silent = seen("b", Err("connection refused"));
        let judgement = judge("blue", &[seen("a", Ok(("7", false, "1"))), silent.clone()]);
        let judgement = judgement.unwrap();
        assert_eq!(judgement.grade, Grade::Warn);
        assert!(
            judgement.message.contains("b in `control`"),
            "{judgement:?}"
        );
        assert!(judge("blue", &[silent.clone(), silent]).is_err());
    }

    #[test]
    fn one_host_is_one_server() {
        assert_eq!(judge("blue", &[]).unwrap().grade, Grade::Pass);
    }
}
