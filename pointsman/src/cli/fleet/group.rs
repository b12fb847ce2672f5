use std::net::IpAddr;

use clap::Subcommand;
use pointsman_catalog::{GroupName, IdentityPattern};
use pointsman_proto::v1::{self, AddGroupRequest, RemoveGroupRequest};

use super::table;
use crate::cli::{
    client,
    entitlement::{Entitlement, listed},
    global::Global,
    output::{self, Columns},
};

/// Sidecars that are served by their certificate, without registering each
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Group {
    /// Serve and count sidecars that prove such an identity, or change what exists for them
    Add {
        /// The group's name
        name: GroupName,
        /// The SPIFFE IDs of its members: one, or PATTERN/* for all below it
        #[arg(long, value_name = "PATTERN")]
        spiffe: IdentityPattern,
        /// The address on which every member listens; each member's bootstrap says it when absent
        #[arg(long, value_name = "IP")]
        listen: Option<IpAddr>,
        #[command(flatten)]
        entitlement: Entitlement,
    },
    /// Every group, and how many members are there
    List,
    /// One group, and a row per member
    Show {
        /// The group's name
        name: GroupName,
    },
    /// Serve and count its members no longer
    Remove {
        /// The group's name
        name: GroupName,
    },
}

impl Group {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::Add {
                name,
                spiffe,
                listen,
                entitlement,
            } => {
                let request = AddGroupRequest {
                    name: name.to_string(),
                    spiffe: spiffe.to_string(),
                    listen: listen.map_or_else(String::new, |ip| ip.to_string()),
                    databases: entitlement.names(),
                    all_databases: entitlement.all_databases,
                };
                add(global, request).await
            }
            Self::List => list(global).await,
            Self::Show { name } => show(global, &name).await,
            Self::Remove { name } => remove(global, &name).await,
        }
    }
}

async fn add(global: &Global, request: AddGroupRequest) -> anyhow::Result<()> {
    let (name, spiffe) = (request.name.clone(), request.spiffe.clone());
    let added = client::connect(global)
        .await?
        .add_group(request)
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &added, || match added.outcome.as_str() {
        "unchanged" => format!("group {name} was declared so already"),
        "changed" => format!("the members of group {name} are told of the change"),
        _ => format!("a sidecar that proves {spiffe} is a member of group {name}"),
    })
}

async fn list(global: &Global) -> anyhow::Result<()> {
    let found = client::groups(global, "").await?;
    output::print(global.output, &found, || groups(&found.groups))
}

async fn show(global: &Global, name: &GroupName) -> anyhow::Result<()> {
    let found = client::groups(global, name.as_str()).await?;
    output::print(global.output, &found, || {
        let members = found.groups.iter().flat_map(|group| group.nodes.clone());
        let members = v1::FleetStatusResponse {
            nodes: members.collect(),
            ..v1::FleetStatusResponse::default()
        };
        format!("{}\n\n{}", groups(&found.groups), table::of(&members))
    })
}

async fn remove(global: &Global, name: &GroupName) -> anyhow::Result<()> {
    let removed = client::connect(global)
        .await?
        .remove_group(RemoveGroupRequest {
            name: name.to_string(),
        })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &removed, || {
        let members = removed.members;
        format!(
            "group {name} is removed: {members} members are served no longer, and keep what they have \
             until they are stopped"
        )
    })
}

fn groups(groups: &[v1::Group]) -> String {
    let header = [
        "GROUP",
        "SPIFFE",
        "LISTEN",
        "DATABASES",
        "MEMBERS",
        "CONNECTED",
    ];
    let mut table = Columns::new(header.to_vec());
    for group in groups {
        let listen = match group.listen.as_str() {
            "" => "as its bootstrap says",
            address => address,
        };
        table.row(vec![
            group.name.clone(),
            group.spiffe.clone(),
            listen.to_owned(),
            listed(group.databases.as_ref()),
            group.members.to_string(),
            group.connected.to_string(),
        ]);
    }
    table.to_string()
}
