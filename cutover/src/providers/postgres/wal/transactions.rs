use std::collections::{BTreeMap, BTreeSet};

/// What a stretch of WAL says of transactions.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Transactions that wrote to a relation that is not exempt, with the databases that they
    /// wrote in, by oid.
    pub(super) writers: BTreeMap<String, BTreeSet<String>>,
    /// Transactions with a message of the engine's.
    pub(super) own: BTreeSet<String>,
    pub(super) commits: Vec<Commit>,
    /// Transactions that wrote in a database that cannot be closed.
    pub(super) elsewhere: BTreeSet<String>,
    /// Transactions of which a message says that all they wrote is the engine's.
    pub(super) marked: BTreeSet<String>,
    /// Transactions that were aborted, or whose commit carries an origin.
    pub(super) ended: BTreeSet<String>,
}

/// A COMMIT record without origin.
#[derive(Debug)]
pub(super) struct Commit {
    prepared: bool,
    /// The transaction and its subtransactions.
    pub(super) xids: Vec<String>,
}

/// The commits in a stretch of WAL, apart from the engine's own.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) users: Vec<Commit>,
    /// Of these no write was read.
    pub(super) unclear: Vec<Commit>,
}

impl Commit {
    pub(super) fn parse(record: &str) -> Self {
        let mut fields = record.split_ascii_whitespace();
        Self {
            prepared: fields.next() == Some("COMMIT_PREPARED"),
            xids: fields.map(str::to_owned).collect(),
        }
    }

    /// Whether its transaction, or a subtransaction, is one of `xids`.
    pub(super) fn is_in(&self, xids: &BTreeSet<String>) -> bool {
        self.xids.iter().any(|xid| xids.contains(xid))
    }
}

impl Found {
    pub(super) fn extend(&mut self, more: Self) {
        for (xid, databases) in more.writers {
            self.writers.entry(xid).or_default().extend(databases);
        }
        self.own.extend(more.own);
        self.commits.extend(more.commits);
        self.elsewhere.extend(more.elsewhere);
        self.marked.extend(more.marked);
        self.ended.extend(more.ended);
    }

    /// A transaction wrote, in the database with this oid where one is known: `XID [OID]`.
    pub(super) fn add_writer(&mut self, record: &str) {
        let mut fields = record.split_ascii_whitespace();
        if let Some(xid) = fields.next() {
            let databases = self.writers.entry(xid.to_owned()).or_default();
            databases.extend(fields.map(str::to_owned));
        }
    }

    pub(super) fn wrote(&self, commit: &Commit) -> bool {
        commit.prepared || commit.xids.iter().any(|xid| self.writers.contains_key(xid))
    }

    /// The oids of the databases that a commit's transactions wrote in.
    pub(super) fn databases_of(&self, commit: &Commit) -> BTreeSet<&str> {
        let writers = commit.xids.iter().filter_map(|xid| self.writers.get(xid));
        writers.flatten().map(String::as_str).collect()
    }

    /// The user commits, and the commits of which no write was read.
    pub(super) fn judge(&mut self, exempt: &BTreeSet<String>) -> Judged {
        let mut judged = Judged::default();
        for commit in std::mem::take(&mut self.commits) {
            if commit.is_in(exempt) {
                continue;
            } else if self.wrote(&commit) {
                judged.users.push(commit);
            } else if !commit.is_in(&self.own) {
                judged.unclear.push(commit);
            }
        }
        judged
    }
}

#[cfg(test)]
mod tests;
