//! Who else uses the control role: in the bake such a session comes in to the source like the engine.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::checks::{Check, CheckContext, CheckSpec, Finding, Judgement, count};

#[derive(Debug)]
pub(super) struct OtherUsers;

const SPEC: CheckSpec = CheckSpec::warn("S26", "control.other-users");

/// The engine's sessions say so in their names. A session of a standby is in no database.
const SESSIONS: &str = "
SELECT a.pid, a.usename::text AS usename, a.datname::text AS datname, a.application_name,
       host(a.client_addr) AS client_addr, a.backend_start::text AS since
FROM pg_stat_activity a
WHERE a.usename = session_user AND a.datname IS NOT NULL
  AND a.backend_type IN ('client backend', 'walsender')
  AND a.application_name !~ '^pointsman[-/]' ORDER BY a.pid";

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Session {
    pid: i64,
    usename: String,
    datname: String,
    application_name: String,
    client_addr: Option<String>,
    since: String,
}

#[async_trait]
impl Check for OtherUsers {
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
    let found = look(place).await;
    let judgement = found.map(|sessions| judge(place.name(), &sessions));
    place.finding(SPEC, began, judgement)
}

/// A session that is about to end is looked at again.
async fn look(place: Place<'_>) -> Result<Vec<Session>, String> {
    let mut found = place.ask::<Session>(SESSIONS).await?;
    if !found.is_empty() {
        place.clock().sleep(LASTS).await;
        let again = place.ask::<Session>(SESSIONS).await?;
        found.retain(|session| again.iter().any(|it| it.pid == session.pid));
    }
    Ok(found)
}

fn judge(server: &str, sessions: &[Session]) -> Judgement {
    let Some(first) = sessions.first() else {
        return Judgement::pass(format!("nobody else is on {server} as the control role"));
    };
    let role = &first.usename;
    Judgement::warn(
        format!(
            "{} of the control role {role} and not the engine's on {server} (first: {}): in the bake such a \
             session comes in to the source like the engine, and what it writes there is on no other server",
            match sessions.len() {
                1 => "1 session is".to_owned(),
                n => format!("{} are", count(n, "session")),
            },
            first.phrase()
        ),
        format!("give the engine a control role of its own, or keep others from using {role} until the migration is complete"),
    )
    .with(sessions)
}

impl Session {
    /// `psql, pid 731 in orders, from 10.0.0.9`
    fn phrase(&self) -> String {
        let name = match self.application_name.as_str() {
            "" => "without a name",
            name => name,
        };
        let from = self.client_addr.as_deref().unwrap_or("a Unix socket");
        format!("{name}, pid {} in {}, from {from}", self.pid, self.datname)
    }
}

/// As long as the end of a session takes.
const LASTS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    #[test]
    fn s26_who_else_uses_the_control_role_is_named() {
        assert_eq!(judge("blue", &[]).grade, Grade::Pass);
        let sessions = rows(json!([
            {"pid": 731, "usename": "postgres", "datname": "orders", "application_name": "psql",
             "client_addr": "10.0.0.9", "since": ""},
            {"pid": 732, "usename": "postgres", "datname": "orders", "application_name": "",
             "client_addr": null, "since": ""}
        ]));
        let judgement = judge("blue", &sessions);
        assert_eq!(judgement.grade, Grade::Warn);
        let message = &judgement.message;
        assert!(
            message.contains("2 sessions are of the control role postgres and not the engine"),
            "{message}"
        );
        assert!(
            message.contains("psql, pid 731 in orders, from 10.0.0.9"),
            "{message}"
        );
        assert_eq!(judgement.evidence.len(), 2);
        let one = judge("blue", &sessions[1..]);
        assert!(
            one.message.contains("without a name, pid 732"),
            "{}",
            one.message
        );
    }
}
