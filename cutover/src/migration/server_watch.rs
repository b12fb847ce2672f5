use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ports::{UserCommit, WalReach, WatchMethod};

/// What was seen on a server since the fence of the switch that left it. Of a long list the
/// first entries are kept.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServerWatch {
    /// How far it was looked at; `None` before the first look.
    reach: Option<WalReach>,
    /// By what it was told last who writes there; `None` where nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<WatchMethod>,
    count: u64,
    /// How many transactions there may be somebody's write or nobody's, and the first few.
    #[serde(default, skip_serializing_if = "is_zero")]
    untold_count: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    untold: Vec<u64>,
    commits: Vec<UserCommit>,
    breaches: Vec<String>,
    /// Who was there; the last ones are kept.
    sessions: Vec<String>,
}

/// What one look found.
#[derive(Clone, Debug, Default)]
pub struct ServerSeen {
    /// How far it was looked at, where that is possible.
    pub reach: Option<WalReach>,
    pub by: Option<WatchMethod>,
    pub commits: Vec<UserCommit>,
    /// Transactions that may be somebody's write or nobody's.
    pub untold: Vec<u64>,
    pub breaches: Vec<String>,
    pub sessions: Vec<String>,
}

impl ServerSeen {
    /// Whether somebody wrote there or lifted the fence.
    pub fn is_disturbed(&self) -> bool {
        !self.commits.is_empty() || !self.breaches.is_empty()
    }
}

impl ServerWatch {
    /// Whether nobody has looked yet.
    pub(super) fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// How far it was looked at.
    pub fn reach(&self) -> Option<&WalReach> {
        self.reach.as_ref()
    }

    /// By what it was told last who writes there.
    pub fn by(&self) -> Option<WatchMethod> {
        self.by
    }

    /// The transactions that may be somebody's write or nobody's, in words.
    pub fn untold(&self) -> Option<String> {
        if self.untold_count == 0 {
            return None;
        }
        let ids: Vec<_> = self.untold.iter().map(u64::to_string).collect();
        Some(transactions(self.untold_count, &ids))
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

    pub(super) fn add(&mut self, seen: ServerSeen) {
        if seen.reach.is_some() {
            self.reach = seen.reach;
            self.by = seen.by;
        }
        self.count += length(&seen.commits);
        self.untold_count += length(&seen.untold);
        add_first(&mut self.untold, seen.untold);
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

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

/// `3 transactions (731, 732 and 1 more)`
fn transactions(count: u64, named: &[String]) -> String {
    let s = if count == 1 { "" } else { "s" };
    let more = match count.saturating_sub(length(named)) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{count} transaction{s} ({}{more})", named.join(", "))
}

impl fmt::Display for ServerWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut found = Vec::new();
        if self.count > 0 {
            let named: Vec<_> = self.commits.iter().map(ToString::to_string).collect();
            let committed = transactions(self.count, &named);
            found.push(format!("others committed {committed}"));
        }
        found.extend(self.breaches.iter().cloned());
        if !self.sessions.is_empty() {
            found.push(format!("seen there: {}", self.sessions.join(", ")));
        }
        f.write_str(&found.join("; "))
    }
}

impl fmt::Display for ServerSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut alone = ServerWatch::default();
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
        let mut watch = ServerWatch::default();
        assert!(!watch.is_disturbed());
        watch.add(ServerSeen {
            commits: vec![commit(731)],
            sessions: vec!["psql of postgres".to_owned()],
            ..ServerSeen::default()
        });
        assert_eq!(
            watch.to_string(),
            "others committed 1 transaction (731 in orders); seen there: psql of postgres"
        );
        watch.add(ServerSeen {
            commits: (732..742).map(commit).collect(),
            ..ServerSeen::default()
        });
        assert!(watch.is_disturbed());
        assert!(watch.to_string().contains("738 in orders and 3 more)"));
    }

    #[test]
    fn what_may_be_nobodys_write_is_named_and_no_disturbance() {
        let mut watch = ServerWatch::default();
        assert_eq!(watch.untold(), None);
        watch.add(ServerSeen {
            untold: (731..741).collect(),
            ..ServerSeen::default()
        });
        assert!(!watch.is_disturbed());
        let untold = watch.untold().unwrap();
        assert!(untold.starts_with("10 transactions (731, ") && untold.ends_with(" and 2 more)"));
    }

    #[test]
    fn commits_and_breaches_each_disturb_and_sessions_alone_do_not() {
        let after = |seen| {
            let mut watch = ServerWatch::default();
            watch.add(seen);
            watch
        };
        let session = after(ServerSeen {
            sessions: vec!["psql of postgres".to_owned()],
            ..ServerSeen::default()
        });
        assert!(!session.is_disturbed());
        assert_eq!(session.to_string(), "seen there: psql of postgres");
        let committed = after(ServerSeen {
            commits: vec![commit(731)],
            ..ServerSeen::default()
        });
        assert!(committed.is_disturbed());
        assert_eq!(committed.count(), 1);
        let opened = after(ServerSeen {
            breaches: vec!["database orders is open".to_owned()],
            ..ServerSeen::default()
        });
        assert!(opened.is_disturbed());
        assert!(opened.knows("database orders is open"));
        assert!(!opened.knows("database stock is open"));
        assert_eq!(opened.to_string(), "database orders is open");
        assert_eq!(ServerWatch::default().to_string(), "");
    }

    #[test]
    fn the_first_commits_and_the_last_sessions_are_kept_each_once() {
        let mut watch = ServerWatch::default();
        for xid in [731, 731, 732] {
            watch.add(ServerSeen {
                commits: vec![commit(xid)],
                breaches: vec!["database orders is open".to_owned()],
                sessions: vec!["psql of postgres".to_owned()],
                ..ServerSeen::default()
            });
        }
        assert_eq!(
            watch.to_string(),
            "others committed 3 transactions (731 in orders, 732 in orders and 1 more); database \
             orders is open; seen there: psql of postgres"
        );
        watch.add(ServerSeen {
            sessions: (0..9).map(|number| format!("psql {number}")).collect(),
            ..ServerSeen::default()
        });
        let kept: Vec<_> = (1..9).map(|number| format!("psql {number}")).collect();
        let seen = format!("seen there: {}", kept.join(", "));
        assert!(watch.to_string().ends_with(&seen), "{watch}");
        let alone = ServerSeen {
            commits: vec![commit(731)],
            ..ServerSeen::default()
        };
        assert_eq!(
            alone.to_string(),
            "others committed 1 transaction (731 in orders)"
        );
    }

    #[test]
    fn a_look_that_reads_no_wal_leaves_the_reach() {
        let mut watch = ServerWatch::default();
        assert_eq!((watch.reach(), watch.count()), (None, 0));
        let reach = WalReach {
            lsn: crate::Lsn(7),
            open: vec![731],
            origins: Vec::new(),
            ids: None,
        };
        watch.add(ServerSeen {
            reach: Some(reach.clone()),
            ..ServerSeen::default()
        });
        watch.add(ServerSeen::default());
        assert_eq!(watch.reach(), Some(&reach));
    }
}
