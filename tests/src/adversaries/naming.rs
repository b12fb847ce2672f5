//! What `status` names: transactions by their database, and servers that somebody else promoted.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use super::attack::{Acknowledged, Kind};

/// All that was named so far, and when it was read first.
#[derive(Debug, Default)]
pub(super) struct Named {
    transactions: BTreeMap<String, Instant>,
    primaries: BTreeMap<String, Instant>,
}

impl Named {
    /// Reads `731 in orders` anywhere, and `red is a primary` where it is a reason to stop: a switch
    /// that goes well says that of its target, too.
    pub(super) fn read(&mut self, status: &Value) {
        let now = Instant::now();
        let text = status.to_string();
        let words = text.split([' ', '(', ',', '"']);
        for (before, _) in words
            .clone()
            .zip(words.skip(1))
            .filter(|pair| pair.1 == "in")
        {
            if !before.is_empty() && before.bytes().all(|byte| byte.is_ascii_digit()) {
                self.transactions.entry(before.to_owned()).or_insert(now);
            }
        }
        for reason in ["headline", "cause"].map(|field| status[field].as_str()) {
            let parts = reason.unwrap_or_default().split(" is a primary");
            let servers: Vec<_> = parts.map(|part| part.rsplit(' ').next()).collect();
            // What follows the last of them is no server.
            let servers = servers.iter().rev().skip(1).flatten();
            for server in servers {
                self.primaries.entry((*server).to_owned()).or_insert(now);
            }
        }
    }

    /// How long after it was acknowledged this was named: by its transaction, or, where somebody
    /// promoted its server, by that.
    pub(super) fn after(&self, write: &Acknowledged) -> Option<Duration> {
        let server = self.primaries.get(&write.server);
        let named = match write.kind {
            Kind::OtherPromoter | Kind::TargetPromoter => {
                server.or_else(|| self.transactions.get(&write.xid))
            }
            Kind::Walsender | Kind::Kept | Kind::Opener | Kind::ControlRole => {
                self.transactions.get(&write.xid)
            }
        };
        named.map(|at| at.saturating_duration_since(write.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(kind: Kind, server: &str, xid: &str) -> Acknowledged {
        Acknowledged {
            id: 1,
            kind,
            server: server.to_owned(),
            xid: xid.to_owned(),
            at: Instant::now(),
        }
    }

    #[test]
    fn a_transaction_is_named_with_its_database_and_a_server_where_it_stops_something() {
        let status = serde_json::json!({
            "headline": "blue serves: red is a primary on timeline 2, and no switch of this migration made it that",
            "proofs": ["not lossless: 731 in orders (repl), 12 others"],
            "timeline": [{ "message": "green is a primary on timeline 2" }],
        });
        let mut named = Named::default();
        named.read(&status);
        let is_named = |kind, server, xid| named.after(&write(kind, server, xid)).is_some();
        assert!(is_named(Kind::Kept, "green", "731"));
        assert!(!is_named(Kind::Kept, "green", "12"));
        assert!(is_named(Kind::OtherPromoter, "red", "9"));
        assert!(!is_named(Kind::Kept, "red", "9"));
        assert!(!is_named(Kind::TargetPromoter, "green", "9"));
    }
}
