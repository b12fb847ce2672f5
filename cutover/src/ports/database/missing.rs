use std::fmt;

use pointsman_catalog::ServerName;

/// A role that a provider does not give a server, and what a person can do about that.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("server {server} has nothing that {role}: {reason}; {remedy}")]
pub struct MissingRole {
    pub server: ServerName,
    pub role: ServerRole,
    pub reason: String,
    pub remedy: String,
}

/// Why a provider does not give a server a role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotOffered {
    pub reason: String,
    /// What a person can do instead.
    pub remedy: String,
}

/// The roles that a server can be without. Every server can be observed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ServerRole {
    Sessions,
    Fence,
    Replication,
    GuardedPromotion,
    ManagedPromotion,
    WalProof,
    ReversePublisher,
    ReverseSubscriber,
    ProbeTable,
    Preparation,
}

/// What the role does.
impl fmt::Display for ServerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sessions => "opens control sessions and ends all others",
            Self::Fence => "closes the server to applications and opens it again",
            Self::Replication => "follows the standby's replay and can cut the standby off",
            Self::GuardedPromotion => "promotes by one statement that the server itself guards",
            Self::ManagedPromotion => "is promoted by an API",
            Self::WalProof => "proves from WAL that nobody wrote",
            Self::ReversePublisher => "sends the reverse stream",
            Self::ReverseSubscriber => "receives the reverse stream",
            Self::ProbeTable => "writes and reads a probe row",
            Self::Preparation => "makes the tables and publications of a switch",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_role_says_what_it_is_for_why_it_is_missing_and_what_to_do() {
        let missing = MissingRole {
            server: ServerName::new("green").unwrap(),
            role: ServerRole::WalProof,
            reason: "its WAL cannot be read".to_owned(),
            remedy: "move the databases by dump and restore".to_owned(),
        };
        assert_eq!(
            missing.to_string(),
            "server green has nothing that proves from WAL that nobody wrote: its WAL cannot be read; \
             move the databases by dump and restore"
        );
    }
}
