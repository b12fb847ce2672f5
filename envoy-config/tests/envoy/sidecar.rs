//! A sidecar as it is deployed: with the bootstrap and the arguments of this crate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pointsman_envoy_config::{ARGUMENTS, Bootstrap, Transport};
use pointsman_lab::{envoy::Envoy, ports::Port};
use tempfile::TempDir;

/// Where sidecars listen for applications.
pub(crate) const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) const NODE: &str = "app-1";

/// A running Envoy; ends when it is dropped.
pub(crate) struct Sidecar {
    _envoy: Envoy,
    _folder: TempDir,
}

impl Sidecar {
    /// One that knows nothing but the control plane at `xds`.
    pub(crate) async fn start(xds: SocketAddr, transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = Port::reserve().unwrap();
        let bootstrap = Bootstrap {
            node: NODE.to_owned(),
            listen: LISTEN,
            xds: xds.to_string().parse().unwrap(),
            admin: Some(admin.on_loopback()),
            transport,
            tls: None,
            max_downstream_connections: 1000,
            cache: None,
        };
        let bootstrap = bootstrap.render();
        let envoy = Envoy::start_with(ARGUMENTS, NODE, folder.path(), &bootstrap, admin).await;
        Self {
            _envoy: envoy.unwrap(),
            _folder: folder,
        }
    }
}
