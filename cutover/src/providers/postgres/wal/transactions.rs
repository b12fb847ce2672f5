use std::collections::BTreeSet;

/// What a stretch of WAL says of transactions.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Transactions that wrote to a relation that is not exempt.
    pub(super) writers: BTreeSet<String>,
    /// Transactions with a message of the engine's.
    pub(super) own: BTreeSet<String>,
    pub(super) commits: Vec<Commit>,
    /// Transactions that wrote in a database that cannot be closed.
    pub(super) elsewhere: BTreeSet<String>,
}

/// A COMMIT record without origin.
#[derive(Debug)]
pub(super) struct Commit {
    prepared: bool,
    /// The transaction and its subtransactions.
    xids: Vec<String>,
}

impl Commit {
    pub(super) fn parse(record: &str) -> Self {
        let mut fields = record.split_ascii_whitespace();
        Self {
            prepared: fields.next() == Some("COMMIT_PREPARED"),
            xids: fields.map(str::to_owned).collect(),
        }
    }
}

impl Found {
    pub(super) fn extend(&mut self, more: Self) {
        self.writers.extend(more.writers);
        self.own.extend(more.own);
        self.commits.extend(more.commits);
        self.elsewhere.extend(more.elsewhere);
    }

    pub(super) fn wrote(&self, commit: &Commit) -> bool {
        commit.prepared || commit.xids.iter().any(|xid| self.writers.contains(xid))
    }

    /// The number of user commits, and the commits of which no write was read.
    pub(super) fn judge(self, exempt: &BTreeSet<String>) -> (u64, Vec<Commit>) {
        let mut count = 0;
        let mut unclear = Vec::new();
        let (writers, own) = (self.writers, self.own);
        for commit in self.commits {
            let wrote = commit.prepared || commit.xids.iter().any(|xid| writers.contains(xid));
            if commit.xids.iter().any(|xid| exempt.contains(xid)) {
                continue;
            } else if wrote {
                count += 1;
            } else if !commit.xids.iter().any(|xid| own.contains(xid)) {
                unclear.push(commit);
            }
        }
        (count, unclear)
    }
}
