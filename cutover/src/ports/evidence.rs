use std::{collections::BTreeMap, fmt, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::{DatabaseName, NodeId, ServerName};
use serde::{Deserialize, Serialize};

/// What the sidecars say of their own connections. It is late by up to a second and covers
/// only what passes through sidecars, so no safety rests on it: the fence is the proof.
#[async_trait]
pub trait Evidence: fmt::Debug + Send + Sync {
    /// The sessions of `databases`, writers' and readers', that are open on `server` now.
    fn sessions(&self, databases: &[DatabaseName], server: &ServerName) -> SessionsOn;

    /// How long an opened or ended session may take to show in [`Self::sessions`], where the
    /// sidecar that has it reports at all.
    fn delay(&self) -> Duration;

    /// Has every registered sidecar for which one of `databases` exists try `server`, and waits
    /// until each has said what came of it, at most `patience`.
    async fn reach(
        &self,
        databases: &[DatabaseName],
        server: &ServerName,
        patience: Duration,
    ) -> BTreeMap<NodeId, Reached>;
}

/// Sessions on one server, by sidecar.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SessionsOn {
    /// Sidecars with at least one.
    pub open: BTreeMap<NodeId, u64>,
    /// Registered sidecars that cannot be counted, and why.
    pub unknown: BTreeMap<NodeId, String>,
}

/// Whether a sidecar gets through to a server.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reached", content = "reason")]
pub enum Reached {
    Yes,
    No(String),
    /// It has not said, and why.
    Unknown(String),
}

/// Nobody reports: everything is unknown.
#[derive(Clone, Copy, Debug)]
pub struct NoEvidence;

#[async_trait]
impl Evidence for NoEvidence {
    fn sessions(&self, _databases: &[DatabaseName], _server: &ServerName) -> SessionsOn {
        SessionsOn::default()
    }

    fn delay(&self) -> Duration {
        Duration::ZERO
    }

    async fn reach(
        &self,
        _databases: &[DatabaseName],
        _server: &ServerName,
        _patience: Duration,
    ) -> BTreeMap<NodeId, Reached> {
        BTreeMap::new()
    }
}

impl SessionsOn {
    /// All that are known of.
    pub fn count(&self) -> u64 {
        self.open.values().sum()
    }
}

/// `7 sessions (app-1: 4, app-2: 3); unknown: app-3 (it has not reported for 4 s)`
impl fmt::Display for SessionsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        write!(f, "{count} session{}", if count == 1 { "" } else { "s" })?;
        list(
            f,
            " (",
            ")",
            self.open
                .iter()
                .map(|(node, count)| format!("{node}: {count}")),
        )?;
        let unknown = self.unknown.iter();
        list(
            f,
            "; unknown: ",
            "",
            unknown.map(|(node, reason)| format!("{node} ({reason})")),
        )
    }
}

/// The first few of `items`: a fleet has thousands.
fn list(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    after: &str,
    mut items: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    if items.len() == 0 {
        return Ok(());
    }
    let named: Vec<_> = items.by_ref().take(NAMED).collect();
    write!(f, "{before}{}", named.join(", "))?;
    if items.len() > 0 {
        write!(f, " and {} more", items.len())?;
    }
    f.write_str(after)
}

const NAMED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    #[test]
    fn who_cannot_be_counted_is_named_beside_the_count() {
        let found = SessionsOn {
            open: [(node("app-1"), 4), (node("app-2"), 3)].into(),
            unknown: [(node("app-3"), "silent".to_owned())].into(),
        };
        assert_eq!(
            found.to_string(),
            "7 sessions (app-1: 4, app-2: 3); unknown: app-3 (silent)"
        );
        assert_eq!(SessionsOn::default().to_string(), "0 sessions");
    }

    #[test]
    fn a_large_fleet_is_counted_and_a_few_are_named() {
        let found = SessionsOn {
            open: (0..11).map(|n| (node(&format!("n{n:02}")), 1)).collect(),
            ..SessionsOn::default()
        };
        let message = found.to_string();
        assert!(message.starts_with("11 sessions (n00: 1, "), "{message}");
        assert!(message.ends_with("n07: 1 and 3 more)"), "{message}");
    }
}
