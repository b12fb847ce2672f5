mod group;
mod show;
mod table;

use std::{net::IpAddr, process::ExitCode};

use clap::Subcommand;
use pointsman_catalog::NodeId;
use pointsman_proto::v1::{
    FleetStatusRequest, RegisterNodeRequest, RetireNodeRequest, ShowNodeRequest,
};

use super::{
    client,
    entitlement::Entitlement,
    global::{Format, Global},
    output,
};

/// The registered sidecars
#[derive(Debug, Subcommand)]
pub(super) enum Fleet {
    /// A row per sidecar: what it has acknowledged, by type
    Status {
        /// Print again at every change, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// One sidecar: what it was sent, acknowledged and refused, and when
    Show {
        /// The sidecar's name
        node: NodeId,
    },
    /// Count a sidecar in every barrier from now on
    Register {
        /// The sidecar's name (Envoy's node.id)
        node: NodeId,
        /// The address on which it listens for applications
        #[arg(long, value_name = "IP")]
        listen: IpAddr,
        /// Let it try changes before the others get them
        #[arg(long, conflicts_with = "no_canary")]
        canary: bool,
        /// Let it be an ordinary sidecar again
        #[arg(long)]
        no_canary: bool,
        #[command(flatten)]
        entitlement: Entitlement,
    },
    /// Sidecars that are served by their certificate, without registering each
    #[command(subcommand)]
    Group(group::Group),
    /// Count a sidecar no longer; over plain text it is served on as UNREGISTERED while it is connected
    Retire {
        /// The sidecar's name
        node: NodeId,
    },
}

impl Fleet {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        match self {
            Self::Status { watch: false } => status(global).await?,
            Self::Status { watch: true } => watch(global).await?,
            Self::Show { node } => show(global, &node).await?,
            Self::Register {
                node,
                listen,
                canary,
                no_canary,
                entitlement,
            } => {
                let canary = (canary || no_canary).then_some(canary);
                register(global, &node, listen, canary, entitlement).await?;
            }
            Self::Group(verb) => verb.run(global).await?,
            Self::Retire { node } => retire(global, &node).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn status(global: &Global) -> anyhow::Result<()> {
    let status = client::connect(global)
        .await?
        .fleet_status(FleetStatusRequest {})
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &status, || table::of(&status))
}

async fn show(global: &Global, node: &NodeId) -> anyhow::Result<()> {
    let record = client::connect(global)
        .await?
        .show_node(ShowNodeRequest {
            node: node.to_string(),
        })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &record, || show::text(&record))
}

/// Until Ctrl-C, or until nobody reads any more.
async fn watch(global: &Global) -> anyhow::Result<()> {
    tokio::select! {
        watched = print_changes(global) => watched,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        () = output::reader_gone() => Ok(()),
    }
}

async fn print_changes(global: &Global) -> anyhow::Result<()> {
    let mut stream = client::connect(global)
        .await?
        .watch_fleet(FleetStatusRequest {})
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    while let Some(status) = stream
        .message()
        .await
        .map_err(|status| client::refusal(&status))?
    {
        match global.output {
            Format::Table => output::line(&format!("{}\n", table::of(&status)))?,
            Format::Json => output::line(&serde_json::to_string(&status)?)?,
        }
    }
    Ok(())
}

async fn register(
    global: &Global,
    node: &NodeId,
    listen: IpAddr,
    canary: Option<bool>,
    entitlement: Entitlement,
) -> anyhow::Result<()> {
    let registered = client::connect(global)
        .await?
        .register_node(RegisterNodeRequest {
            node: node.to_string(),
            listen: listen.to_string(),
            canary,
            databases: entitlement.names(),
            all_databases: entitlement.all_databases,
        })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &registered, || {
        let text = match registered.outcome.as_str() {
            "unchanged" => format!("{node} was registered already, listening on {listen}"),
            "moved" => format!(
                "{node} is to listen on {listen}: restart it with the bootstrap that `sidecar \
                 bootstrap` prints now"
            ),
            "changed" => {
                format!("{node}, listening on {listen}, is told of other databases from now on")
            }
            _ => format!("{node} is registered, listening on {listen}"),
        };
        match canary {
            Some(true) => format!("{text}; it tries changes before the others"),
            Some(false) => format!("{text}; it is no canary"),
            None => text,
        }
    })
}

async fn retire(global: &Global, node: &NodeId) -> anyhow::Result<()> {
    let retired = client::connect(global)
        .await?
        .retire_node(RetireNodeRequest {
            node: node.to_string(),
        })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &retired, || {
        format!("{node} is retired: no barrier waits for it")
    })
}
