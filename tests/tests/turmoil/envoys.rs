//! Members that are real Envoys, all of one certificate and one bootstrap.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use pointsman_lab::{
    envoy::{ARGUMENTS, Envoy},
    ports::Port,
};

use super::stage::{GROUP, Stage};

/// The path in the certificate that all of them show.
pub(crate) const PATH: &str = "web";

/// How Envoys are started.
#[derive(Clone)]
pub(crate) struct Deployment {
    bootstrap: String,
    folder: PathBuf,
    port: u16,
}

impl Deployment {
    /// Makes the group's bootstrap.
    pub(crate) async fn new(stage: &Stage) -> Result<Self> {
        let certificate = stage.member(PATH)?;
        let file = |path: &PathBuf| path.display().to_string();
        let authority = file(&stage.folder().join("servers.pem"));
        let (own, key) = (file(&certificate.certificate), file(&certificate.key));
        let bootstrap = stage
            .ok(&[
                "sidecar",
                "bootstrap",
                "--group",
                GROUP,
                "--listen",
                LISTEN,
                "--envoy-admin",
                ADMIN,
                "--tls-cert",
                &own,
                "--tls-key",
                &key,
                "--tls-ca",
                &authority,
            ])
            .await?;
        Ok(Self {
            bootstrap,
            folder: stage.folder().to_owned(),
            port: stage.writer.number(),
        })
    }

    /// The same with another way to the control plane, which listens on `direct`.
    pub(crate) fn over(self, direct: SocketAddr, gate: SocketAddr) -> Self {
        let port = |at: SocketAddr| format!("\"port_value\": {}", at.port());
        Self {
            bootstrap: self.bootstrap.replace(&port(direct), &port(gate)),
            ..self
        }
    }

    /// Starts an Envoy as `instance` at the place `slot`, and returns once applications can connect.
    /// In a deployment each would have a machine of its own, and the bootstrap were the same to the
    /// byte; here they share one, so each needs an address.
    pub(crate) async fn start(&self, slot: usize, instance: &str) -> Result<Envoy> {
        let admin = Port::reserve()?;
        let listen = address_of(slot)?;
        let port = format!("\"port_value\": {}", admin.number());
        let bootstrap = self
            .bootstrap
            .replace(&format!("\"{LISTEN}\""), &format!("\"{listen}\""))
            .replace("\"port_value\": 9", &port);
        let arguments: Vec<_> = ARGUMENTS
            .iter()
            .copied()
            .chain(["--service-node", instance, "--log-level", "error"])
            .collect();
        let envoy =
            Envoy::start_with(&arguments, instance, &self.folder, &bootstrap, admin).await?;
        envoy.listening(self.writer(slot)?).await?;
        Ok(envoy)
    }

    /// Where the Envoy at `slot` offers the writer.
    pub(crate) fn writer(&self, slot: usize) -> Result<SocketAddr> {
        Ok(SocketAddr::new(address_of(slot)?, self.port))
    }
}

/// The loopback address of the Envoy at `slot`.
pub(crate) fn address_of(slot: usize) -> Result<IpAddr> {
    let last = u8::try_from(slot + 1).context("as many Envoys as addresses")?;
    Ok(IpAddr::V4(Ipv4Addr::new(127, 0, 2, last)))
}

/// Replaced by each Envoy's own.
const LISTEN: &str = "127.0.2.254";
const ADMIN: &str = "127.0.0.1:9";
