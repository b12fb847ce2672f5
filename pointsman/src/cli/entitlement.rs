use clap::Args;
use pointsman_catalog::DatabaseName;
use pointsman_proto::v1::Databases;

/// Which databases exist for a sidecar
#[derive(Args, Clone, Debug)]
pub(super) struct Entitlement {
    /// A database that exists for it, besides others named so; all else does not
    #[arg(
        long = "database",
        value_name = "NAME",
        conflicts_with = "all_databases"
    )]
    databases: Vec<DatabaseName>,
    /// Let every database exist for it, also those declared later
    #[arg(long)]
    pub(super) all_databases: bool,
}

impl Entitlement {
    pub(super) fn names(&self) -> Vec<String> {
        self.databases.iter().map(ToString::to_string).collect()
    }
}

/// The databases that exist for a sidecar, by name.
pub(super) fn listed(databases: Option<&Databases>) -> String {
    databases.map_or_else(|| "all".to_owned(), |databases| databases.names.join(", "))
}
