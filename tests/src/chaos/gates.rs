//! The gates between the parties.

use std::net::SocketAddr;

use anyhow::Result;
use futures_util::future::try_join_all;
use pointsman_lab::{gate::Gate, postgres::PostgresServer};

use super::plan::Link;

/// Each server has three gates before it, each sidecar one before the control plane.
#[derive(Debug)]
pub(super) struct Gates {
    /// For the control plane.
    pub(super) control: [Gate; 2],
    /// For the other server.
    pub(super) peers: [Gate; 2],
    /// For the sidecars.
    pub(super) applications: [Gate; 2],
    /// Before the control plane, one for each sidecar.
    pub(super) xds: Vec<Gate>,
}

impl Gates {
    /// Opens all of them but the one for the standby, which is there already.
    pub(super) async fn start(
        [source, target]: &[PostgresServer; 2],
        replication: Gate,
        xds: SocketAddr,
        sidecars: usize,
    ) -> Result<Self> {
        let before = async |server: &PostgresServer| Gate::start(server.address()).await;
        Ok(Self {
            control: [before(source).await?, before(target).await?],
            peers: [replication, before(target).await?],
            applications: [before(source).await?, before(target).await?],
            xds: try_join_all((0..sidecars).map(|_| Gate::start(xds))).await?,
        })
    }

    /// Those of `link`, while the server number `serving` is the source.
    pub(super) fn of(&self, link: Link, serving: usize) -> Vec<&Gate> {
        let other = 1 - serving;
        match link {
            Link::ControlPlaneSource => vec![&self.control[serving]],
            Link::ControlPlaneTarget => vec![&self.control[other]],
            Link::SourceTarget => self.peers.iter().collect(),
            Link::SidecarsSource => vec![&self.applications[serving]],
            Link::SidecarsTarget => vec![&self.applications[other]],
            Link::SidecarControlPlane(number) => vec![&self.xds[number]],
        }
    }
}
