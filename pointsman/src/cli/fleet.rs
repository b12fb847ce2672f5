use std::{net::IpAddr, process::ExitCode};

use clap::Subcommand;
use pointsman_catalog::NodeId;
use pointsman_proto::v1::{
    FleetStatusRequest, FleetStatusResponse, RegisterNodeRequest, RetireNodeRequest,
};

use super::{
    Format, Global, client,
    output::{self, Table},
};

/// The registered sidecars
#[derive(Debug, Subcommand)]
pub(super) enum Fleet {
    /// A row per sidecar: what it has acknowledged
    Status {
        /// Print again at every change
        #[arg(long)]
        watch: bool,
    },
    /// Count a sidecar in every barrier from now on
    Register {
        /// The sidecar's name (Envoy's node.id)
        node: NodeId,
        /// The address on which it listens for applications
        #[arg(long, value_name = "IP")]
        listen: IpAddr,
    },
    /// Count a sidecar no longer; it is served on as UNREGISTERED while it is connected
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
            Self::Register { node, listen } => register(global, &node, listen).await?,
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
    output::print(global.output, &status, || table(&status))
}

async fn watch(global: &Global) -> anyhow::Result<()> {
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
            Format::Table => output::line(&format!("{}\n", table(&status)))?,
            Format::Json => output::line(&serde_json::to_string(&status)?)?,
        }
    }
    Ok(())
}

async fn register(global: &Global, node: &NodeId, listen: IpAddr) -> anyhow::Result<()> {
    let registered = client::connect(global)
        .await?
        .register_node(RegisterNodeRequest {
            node: node.to_string(),
            listen: listen.to_string(),
        })
        .await
        .map_err(|status| client::refusal(&status))?
        .into_inner();
    output::print(global.output, &registered, || {
        match registered.outcome.as_str() {
            "unchanged" => format!("{node} was registered already, listening on {listen}"),
            "moved" => format!(
                "{node} is to listen on {listen}: restart it with the bootstrap that `sidecar \
                 bootstrap` prints now"
            ),
            _ => format!("{node} is registered, listening on {listen}"),
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

fn table(status: &FleetStatusResponse) -> String {
    let mut table = Table::new(["NODE", "LISTEN", "STATE", "ACKED", "WORDS"]);
    for node in &status.nodes {
        table.row([
            node.node.clone(),
            node.listen.clone(),
            node.state.clone(),
            node.acked_ms_ago
                .map_or_else(|| "-".to_owned(), |ms| format!("{} ago", age(ms))),
            node.words.clone(),
        ]);
    }
    let registered = status.nodes.iter().filter(|node| node.registered).count();
    let synced = status
        .nodes
        .iter()
        .filter(|node| node.registered && node.state == "SYNCED")
        .count();
    format!("{table}\n{synced} of {registered} registered sidecars SYNCED")
}

fn age(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use pointsman_proto::v1::Node;

    use super::*;

    #[test]
    fn the_table_counts_the_registered_fleet() {
        let node =
            |node: &str, registered, state: &str, acked_ms_ago: Option<u64>, words: &str| Node {
                node: node.to_owned(),
                listen: "127.0.0.11".to_owned(),
                registered,
                connected: acked_ms_ago.is_some(),
                state: state.to_owned(),
                words: words.to_owned(),
                acked_ms_ago,
            };
        let status = FleetStatusResponse {
            nodes: vec![
                node("app-1", true, "SYNCED", Some(412), ""),
                node("app-2", true, "ABSENT", None, "not connected"),
                node(
                    "stray",
                    false,
                    "UNREGISTERED",
                    Some(95_000),
                    "nobody registered it",
                ),
            ],
        };
        insta::assert_snapshot!(table(&status));
    }
}
