mod cache;
mod subject;
mod tls;

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use pointsman_catalog::{Endpoint, GroupName, NodeId};
use pointsman_envoy_config::{Bootstrap, CacheSocket, Transport};
use pointsman_proto::v1::{DescribeControlPlaneRequest, RegisterNodeRequest};

use self::subject::{Subject, Who};
use super::{client, entitlement::Entitlement, global::Global};

/// Sidecars' own configuration
#[derive(Debug, Subcommand)]
pub(super) enum Sidecar {
    /// Register a sidecar and print its Envoy bootstrap; with --group, print that of a group's members
    Bootstrap(Bootstrapping),
    /// Keep a sidecar's configuration beside it, for a start while the control plane is down
    Cache(cache::Cache),
}

#[derive(Args, Debug)]
pub(super) struct Bootstrapping {
    /// The sidecar's name (Envoy's node.id)
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    node: Option<NodeId>,
    /// One bootstrap for every member of this sidecar group; nobody is registered
    #[arg(long, value_name = "GROUP", conflicts_with_all = ["databases", "all_databases"])]
    group: Option<GroupName>,
    /// The address on which it listens for applications; of a group's members 127.0.0.1, unless the
    /// group or this says another
    #[arg(long, value_name = "IP", required_unless_present = "group")]
    listen: Option<IpAddr>,
    /// Where it reaches the control plane; asked of the control plane when absent
    #[arg(long, value_name = "HOST:PORT")]
    xds: Option<Endpoint>,
    /// Envoy's own admin interface; none when absent
    #[arg(long, value_name = "IP:PORT")]
    envoy_admin: Option<SocketAddr>,
    /// Where it asks when it starts while the control plane is down: --socket of `sidecar cache`.
    /// Experimental in Envoy
    #[arg(long, value_name = "unix:/PATH")]
    cache: Option<CacheSocket>,
    /// State-of-the-world xDS instead of delta
    #[arg(long, conflicts_with = "cache")]
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
        match self {
            Self::Bootstrap(verb) => verb.run(global).await,
            Self::Cache(verb) => verb.run().await,
        }
    }
}

impl Bootstrapping {
    async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let subject = self.subject(global).await?;
        let (databases, all_databases) = (self.entitlement.names(), self.entitlement.all_databases);
        let bootstrap = self.bootstrap(global, &subject).await?;
        // Registered before anything is printed: a sidecar that starts at once must be counted by
        // every barrier. Registered after everything that can fail: barriers must not wait for a
        // sidecar without a bootstrap.
        if let Who::Sidecar(node) = &subject.who {
            let register = RegisterNodeRequest {
                node: node.to_string(),
                listen: subject.listen.to_string(),
                canary: None,
                databases,
                all_databases,
            };
            client::connect(global)
                .await?
                .register_node(register)
                .await
                .map_err(|status| client::refusal(&status))?;
        }
        writeln!(std::io::stdout(), "{}", bootstrap.render())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn subject(&self, global: &Global) -> anyhow::Result<Subject> {
        let Some(group) = &self.group else {
            let (Some(node), Some(listen)) = (&self.node, self.listen) else {
                bail!("name the sidecar and its --listen address, or its --group");
            };
            return Ok(Subject {
                who: Who::Sidecar(node.clone()),
                listen,
            });
        };
        let found = client::groups(global, group.as_str()).await?;
        let found = found.groups.first();
        let found = found.with_context(|| format!("there is no sidecar group {group}"))?;
        let declared = found.listen.parse().ok();
        let listen = match (declared, self.listen) {
            (Some(declared), Some(wanted)) if declared != wanted => bail!(
                "the members of group {group} listen on {declared}, as it was declared: leave --listen \
                 out, or declare the group without it"
            ),
            (Some(address), _) | (None, Some(address)) => address,
            (None, None) => IpAddr::from([127, 0, 0, 1]),
        };
        Ok(Subject {
            who: Who::Members(group.clone(), found.spiffe.parse()?),
            listen,
        })
    }

    /// Writes what leads Envoy to its certificate, and makes the bootstrap.
    async fn bootstrap(self, global: &Global, subject: &Subject) -> anyhow::Result<Bootstrap> {
        let control_plane = client::connect(global)
            .await?
            .describe_control_plane(DescribeControlPlaneRequest {})
            .await
            .map_err(|status| client::refusal(&status))?
            .into_inner();
        let xds = match self.xds {
            Some(xds) => xds,
            None => control_plane.xds.parse().context(
                "the control plane listens on every address of its machine: say with --xds by \
                 which one this sidecar reaches it",
            )?,
        };
        let tls = self
            .certificate
            .into_bootstrap(subject, control_plane.identity)
            .await?;
        Ok(Bootstrap {
            node: subject.name().to_owned(),
            listen: subject.listen,
            xds,
            admin: self.envoy_admin,
            transport: if self.state_of_the_world {
                Transport::StateOfTheWorld
            } else {
                Transport::Delta
            },
            tls,
            max_downstream_connections: self.max_connections,
            cache: self.cache,
        })
    }
}

/// PostgreSQL servers seldom allow more, and a hold parks every one of them.
const MAX_CONNECTIONS: u32 = 10_000;
