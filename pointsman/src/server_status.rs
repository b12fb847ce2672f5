//! What servers say of themselves, for people: asked now, never declared.

use std::time::Duration;

use futures_util::future::join_all;
use pointsman_catalog::Server;
use pointsman_cutover::ports::Providers;
use tokio::time::timeout;

/// A server as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ServerStatus {
    Answers {
        in_recovery: bool,
        timeline: u32,
        system_identifier: String,
    },
    /// Not an error: the server gets a row with the reason.
    Unreachable { reason: String },
}

impl ServerStatus {
    /// `primary`, `standby` or `unreachable`.
    pub(crate) const fn role(&self) -> &'static str {
        match self {
            Self::Answers {
                in_recovery: true, ..
            } => "standby",
            Self::Answers {
                in_recovery: false, ..
            } => "primary",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

/// Whether the fence of a migration closes a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Closed {
    No,
    By { migration: String },
    Unknown { reason: String },
}

/// Which of the primaries among `servers` are closed, by the record that the fence left there; it goes
/// when the server is opened. A standby has the record of its primary.
pub(crate) async fn closed(
    providers: &Providers,
    servers: &[Server],
    observed: &[ServerStatus],
) -> Vec<Closed> {
    let looks = servers.iter().zip(observed).map(async |(server, status)| {
        if status.role() != "primary" {
            return Closed::No;
        }
        let look = async { providers.of(server)?.fence_record(server).await };
        match timeout(DEADLINE, look).await {
            Ok(Ok(None)) => Closed::No,
            Ok(Ok(Some(record))) => Closed::By {
                migration: record.migration,
            },
            Ok(Err(error)) => Closed::Unknown {
                reason: error.to_string(),
            },
            Err(_elapsed) => Closed::Unknown {
                reason: format!("no answer within {DEADLINE:?}"),
            },
        }
    });
    join_all(looks).await
}

/// Looks at every server at once; each answers within [`DEADLINE`] or counts as unreachable.
pub(crate) async fn of_all(providers: &Providers, servers: &[Server]) -> Vec<ServerStatus> {
    join_all(servers.iter().map(|server| one(providers, server))).await
}

async fn one(providers: &Providers, server: &Server) -> ServerStatus {
    let look = async { providers.of(server)?.observe(server).await };
    let reason = match timeout(DEADLINE, look).await {
        Ok(Ok(seen)) => {
            return ServerStatus::Answers {
                in_recovery: seen.in_recovery,
                timeline: seen.timeline,
                system_identifier: seen.system_identifier,
            };
        }
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no answer within {DEADLINE:?}"),
    };
    ServerStatus::Unreachable { reason }
}

/// A person waits for the answer.
const DEADLINE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_by_its_role() {
        let answers = |in_recovery| ServerStatus::Answers {
            in_recovery,
            timeline: 3,
            system_identifier: "7300".to_owned(),
        };
        assert_eq!(answers(true).role(), "standby");
        assert_eq!(answers(false).role(), "primary");
        let silent = ServerStatus::Unreachable {
            reason: "no answer within 3s".to_owned(),
        };
        assert_eq!(silent.role(), "unreachable");
    }
}
