use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ports::{UserCommit, WalReach};

/// What was seen on the source since the fence of the switch that left it. Of a long list the
/// first entries are kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct SourceWatch {
    /// How far its WAL was read; `None` before the first look.
    reach: Option<WalReach>,
    count: u64,
    commits: Vec<UserCommit>,
    breaches: Vec<String>,
    /// Who was there; the last ones are kept.
    sessions: Vec<String>,
}

/// What one look found.
#[derive(Clone, Debug, Default)]
pub struct SourceSeen {
    /// How far its WAL was read, where it can be.
    pub reach: Option<WalReach>,
    pub commits: Vec<UserCommit>,
    pub breaches: Vec<String>,
    pub sessions: Vec<String>,
}

impl SourceWatch {
    /// How far its WAL was read.
    pub fn reach(&self) -> Option<&WalReach> {
        self.reach.as_ref()
    }

    /// How many transactions of others were committed there.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether somebody wrote there or lifted the fence.
    pub fn is_disturbed(&self) -> bool {
        self.count > 0 || !self.breaches.is_empty()
    }

    /// Whether this breach was seen before.
    pub fn knows(&self, breach: &str) -> bool {
        self.breaches.iter().any(|known| known == breach)
    }

    pub(super) fn add(&mut self, seen: SourceSeen) {
        if seen.reach.is_some() {
            self.reach = seen.reach;
        }
        self.count += u64::try_from(seen.commits.len()).unwrap_or(u64::MAX);
        add_first(&mut self.commits, seen.commits);
        add_first(&mut self.breaches, seen.breaches);
        self.sessions.extend(seen.sessions);
        self.sessions.dedup();
        let surplus = self.sessions.len().saturating_sub(KEPT);
        self.sessions.drain(..surplus);
    }
}

fn add_first<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>) {
    for one in more {
        if known.len() < KEPT && !known.contains(&one) {
            known.push(one);
        }
    }
}

impl fmt::Display for SourceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut found = Vec::new();
        if self.count > 0 {
            let s = if self.count == 1 { "" } else { "s" };
            let named: Vec<_> = self.commits.iter().map(ToString::to_string).collect();
            let more = self.count.saturating_sub(named.len() as u64);
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = named.join(", ");
            found.push(format!(
                "others committed {} transaction{s} ({named}{more})",
                self.count
            ));
        }
        found.extend(self.breaches.iter().cloned());
        if !self.sessions.is_empty() {
            found.push(format!("seen there: {}", self.sessions.join(", ")));
        }
        f.write_str(&found.join("; "))
    }
}

impl fmt::Display for SourceSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut alone = SourceWatch::default();
        alone.add(self.clone());
        alone.fmt(f)
    }
}

/// More make no message clearer.
const KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(xid: u32) -> UserCommit {
        UserCommit {
            xid,
            databases: vec!["orders".to_owned()],
        }
    }

    #[test]
    fn what_was_seen_is_named_and_many_are_counted() {
        let mut watch = SourceWatch::default();
        assert!(!watch.is_disturbed());
        watch.add(SourceSeen {
            commits: vec![commit(731)],
            sessions: vec!["psql of postgres".to_owned()],
            ..SourceSeen::default()
        });
        assert_eq!(
            watch.to_string(),
            "others committed 1 transaction (731 in orders); seen there: psql of postgres"
        );
        watch.add(SourceSeen {
            commits: (732..742).map(commit).collect(),
            ..SourceSeen::default()
        });
        assert!(watch.is_disturbed());
        assert!(watch.to_string().contains("738 in orders and 3 more)"));
    }

    #[test]
    fn a_look_that_reads_no_wal_leaves_the_reach() {
        let mut watch = SourceWatch::default();
        let reach = WalReach::default();
        watch.add(SourceSeen {
            reach: Some(reach.clone()),
            ..SourceSeen::default()
        });
        watch.add(SourceSeen::default());
        assert_eq!(watch.reach(), Some(&reach));
    }
}
