//! What servers say of themselves, for people: observed now, never declared.

use std::time::Duration;

use futures_util::future::join_all;
use pointsman_catalog::Server;
use pointsman_cutover::ports::DatabaseProvider;
use serde_json::{Map, Value};
use tokio::time::timeout;

/// A server as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Observed {
    Answers {
        in_recovery: bool,
        timeline: u32,
        system_identifier: String,
    },
    /// Not an error: a server that does not answer is worth a row, too.
    Unreachable { words: String },
}

impl Observed {
    /// `primary`, `standby`, or `unreachable` with the reason.
    pub(crate) fn role(&self) -> String {
        match self {
            Self::Answers {
                in_recovery: true, ..
            } => "standby".to_owned(),
            Self::Answers {
                in_recovery: false, ..
            } => "primary".to_owned(),
            Self::Unreachable { words } => format!("unreachable: {words}"),
        }
    }
}

/// Looks at every server at once; each answers within [`DEADLINE`] or counts as unreachable.
pub(crate) async fn all(provider: &dyn DatabaseProvider, servers: &[Server]) -> Vec<Observed> {
    join_all(servers.iter().map(|server| one(provider, server))).await
}

async fn one(provider: &dyn DatabaseProvider, server: &Server) -> Observed {
    let look = async {
        let inspector = provider.inspect(server).await?;
        inspector.rows("postgres", IDENTITY).await
    };
    let words = match timeout(DEADLINE, look).await {
        Ok(Ok(rows)) => match rows.first().and_then(read) {
            Some(observed) => return observed,
            None => "it answered something else than was asked".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no answer within {DEADLINE:?}"),
    };
    Observed::Unreachable { words }
}

fn read(row: &Map<String, Value>) -> Option<Observed> {
    Some(Observed::Answers {
        in_recovery: row.get("in_recovery")?.as_bool()?,
        timeline: u32::try_from(row.get("timeline")?.as_u64()?).ok()?,
        system_identifier: row.get("system_identifier")?.as_str()?.to_owned(),
    })
}

/// The timeline of a primary is that of its insert position: after a promotion
/// `pg_control_checkpoint()` still says the former one until the next checkpoint.
const IDENTITY: &str = "\
SELECT pg_is_in_recovery() AS in_recovery,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
       CASE WHEN pg_is_in_recovery()
            THEN (SELECT timeline_id FROM pg_control_checkpoint())
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int
       END AS timeline";

/// A person waits for the answer.
const DEADLINE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_whole_or_not_at_all() {
        let row = serde_json::json!({
            "in_recovery": true, "timeline": 3, "system_identifier": "7300"
        });
        let observed = row.as_object().and_then(read).unwrap();
        assert_eq!(observed.role(), "standby");
        let lacking = serde_json::json!({ "in_recovery": true });
        assert_eq!(lacking.as_object().and_then(read), None);
    }
}
