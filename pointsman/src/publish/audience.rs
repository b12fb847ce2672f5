use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

use pointsman_catalog::{DatabaseName, Node};
use pointsman_xds::Group;

/// Decides which resources a sidecar is sent: the address that it listens on, and the databases
/// that exist for it. Sidecars with equal audiences form one group.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Audience {
    pub(crate) listen: IpAddr,
    /// `None` is all, also those that are declared later.
    databases: Option<BTreeSet<DatabaseName>>,
}

impl Audience {
    /// A sidecar on `listen` for which every database exists.
    pub(crate) const fn of_all(listen: IpAddr) -> Self {
        Self {
            listen,
            databases: None,
        }
    }

    /// A sidecar on `listen` for which `databases` exist; `None` is all.
    pub(super) const fn new(listen: IpAddr, databases: Option<BTreeSet<DatabaseName>>) -> Self {
        Self { listen, databases }
    }

    pub(super) const fn databases(&self) -> Option<&BTreeSet<DatabaseName>> {
        self.databases.as_ref()
    }

    pub(super) fn includes(&self, database: &DatabaseName) -> bool {
        self.databases
            .as_ref()
            .is_none_or(|databases| databases.contains(database))
    }

    /// Whether the sidecars of `group` listen on the same address.
    pub(super) fn listens_as(&self, group: &Group) -> bool {
        Self::listen_of(group) == Some(self.listen)
    }

    /// Where the sidecars of `group` listen.
    pub(super) fn listen_of(group: &Group) -> Option<IpAddr> {
        group.to_string().split(' ').next()?.parse().ok()
    }

    pub(super) fn group(&self) -> Group {
        let mut name = self.listen.to_string();
        let mut separator = ' ';
        for database in self.databases.iter().flatten() {
            // Writing to a string does not fail.
            let _ = write!(name, "{separator}{database}");
            separator = ',';
        }
        if self.databases.as_ref().is_some_and(BTreeSet::is_empty) {
            name.push_str(" -");
        }
        Group::new(name)
    }
}

impl From<&Node> for Audience {
    fn from(node: &Node) -> Self {
        Self::new(node.listen, node.databases.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(databases: Option<&[&str]>) -> Audience {
        let name = |name: &&str| DatabaseName::new(*name).unwrap();
        Audience {
            listen: IpAddr::from([127, 0, 0, 1]),
            databases: databases.map(|names| names.iter().map(name).collect()),
        }
    }

    #[test]
    fn different_audiences_are_different_groups() {
        let all = [
            None,
            Some(&[][..]),
            Some(&["a"]),
            Some(&["b"]),
            Some(&["a", "b"]),
        ];
        let groups: BTreeSet<_> = all.map(|names| audience(names).group()).into();
        assert_eq!(groups.len(), all.len(), "{groups:?}");
    }
}
