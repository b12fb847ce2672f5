//! Envoys that take everything from the server under test.

use std::net::{Ipv4Addr, SocketAddr};

use pointsman_lab::{envoy, ports::Port};
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Delta,
    StateOfTheWorld,
}

pub(crate) const BOTH: [Transport; 2] = [Transport::Delta, Transport::StateOfTheWorld];

/// A running Envoy; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Envoy {
    envoy: envoy::Envoy,
    _folder: TempDir,
}

impl Envoy {
    /// One that is called `sidecar` and is configured by the server at `xds`.
    pub(crate) async fn start(xds: u16, transport: Transport) -> Self {
        Self::named("sidecar", xds, transport).await
    }

    pub(crate) async fn named(node: &str, xds: u16, transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = Port::reserve().unwrap();
        let api_type = match transport {
            Transport::Delta => "DELTA_GRPC",
            Transport::StateOfTheWorld => "GRPC",
        };
        let bootstrap = include_str!("bootstrap.json")
            .replace("NODE_ID", node)
            .replace("\"ADMIN_PORT\"", &admin.number().to_string())
            .replace("\"XDS_PORT\"", &xds.to_string())
            .replace("API_TYPE", api_type);
        // Hundreds of flips would fill the log with what each has changed.
        let arguments = [envoy::ARGUMENTS, &["--log-level", "error"]].concat();
        let envoy =
            envoy::Envoy::start_with(&arguments, node, folder.path(), &bootstrap, admin).await;
        Self {
            envoy: envoy.unwrap(),
            _folder: folder,
        }
    }

    /// What the admin interface says at a path.
    pub(crate) async fn admin(&self, path: &str) -> anyhow::Result<String> {
        self.envoy.get(path).await
    }

    /// The sum of the counters and gauges whose names match a regular expression.
    ///
    /// # Panics
    /// If none does, or the admin interface does not answer.
    pub(crate) async fn stats(&self, filter: &str) -> u64 {
        self.envoy.stats(filter).await.unwrap()
    }
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
