mod tls;

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use pointsman_catalog::{Endpoint, NodeId};
use pointsman_envoy_config::{Bootstrap, Transport};
use pointsman_proto::v1::RegisterNodeRequest;

use super::{client, entitlement::Entitlement, global::Global};

/// Sidecars' own configuration
#[derive(Debug, Subcommand)]
pub(super) enum Sidecar {
    /// Register a sidecar and print its Envoy bootstrap
    Bootstrap(Bootstrapping),
}

#[derive(Args, Debug)]
pub(super) struct Bootstrapping {
    /// The sidecar's name (Envoy's node.id)
    node: NodeId,
    /// The address on which it listens for applications
    #[arg(long, value_name = "IP")]
    listen: IpAddr,
    /// Where it reaches the control plane; asked of the control plane when absent
    #[arg(long, value_name = "HOST:PORT")]
    xds: Option<Endpoint>,
    /// Envoy's own admin interface; none when absent
    #[arg(long, value_name = "IP:PORT")]
    envoy_admin: Option<SocketAddr>,
    /// State-of-the-world xDS instead of delta
    #[arg(long)]
    state_of_the_world: bool,
    /// Client connections that the sidecar accepts at most
    #[arg(long, value_name = "N", default_value_t = MAX_CONNECTIONS)]
    max_connections: u32,
    #[command(flatten)]
    entitlement: Entitlement,
    #[command(flatten)]
    certificate: tls::Certificate,
}

impl Sidecar {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Self::Bootstrap(verb) = self;
        verb.run(global).await
    }
}

impl Bootstrapping {
    async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let mut admin = client::connect(global).await?;
        // Registered before anything is printed: a sidecar that starts at once must find
        // itself in the denominator of every barrier.
        let registered = admin
            .register_node(RegisterNodeRequest {
                node: self.node.to_string(),
                listen: self.listen.to_string(),
                canary: None,
                databases: self.entitlement.names(),
                all_databases: self.entitlement.all_databases,
            })
            .await
            .map_err(|status| client::refusal(&status))?
            .into_inner();
        let xds = match self.xds {
            Some(xds) => xds,
            None => registered.xds.parse().context(
                "the control plane listens on every address of its machine: say with --xds by \
                 which one this sidecar reaches it",
            )?,
        };
        let tls = self.certificate.into_bootstrap(registered.identity)?;
        let bootstrap = Bootstrap {
            node: self.node,
            listen: self.listen,
            xds,
            admin: self.envoy_admin,
            transport: if self.state_of_the_world {
                Transport::StateOfTheWorld
            } else {
                Transport::Delta
            },
            tls,
            max_downstream_connections: self.max_connections,
        };
        writeln!(std::io::stdout(), "{}", bootstrap.render())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// PostgreSQL servers seldom allow more, and a hold parks every one of them.
const MAX_CONNECTIONS: u32 = 10_000;
