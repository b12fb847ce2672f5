//! A sidecar that has a cache.

use std::{fs, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use pointsman_lab::{Lab, envoy::Envoy, ports::Port, sidecar_name};
use pointsman_tests::cache::Cache;

/// What a sidecar and its cache share.
pub(crate) struct Beside {
    name: String,
    listen: String,
    xds: SocketAddr,
    pub(crate) folder: PathBuf,
    pub(crate) admin: SocketAddr,
    bootstrap: String,
}

impl Beside {
    /// Makes a bootstrap for sidecar `number` that knows a cache; both reach the control plane at `xds`.
    pub(crate) async fn of(lab: &Lab, number: u8, xds: SocketAddr) -> Result<Self> {
        let name = sidecar_name(number);
        let orders = lab.databases.first().context("a database")?;
        let listen = lab.writer(number, orders).ip().to_string();
        let folder = lab.scratch.path().join("beside");
        fs::create_dir_all(&folder)?;
        let admin = Port::reserve()?;
        let beside = Self {
            listen,
            xds,
            admin: admin.on_loopback(),
            bootstrap: String::new(),
            name,
            folder,
        };
        let socket = Cache::socket(&beside.folder);
        let (xds, admin) = (xds.to_string(), beside.admin.to_string());
        let make = [
            "sidecar",
            "bootstrap",
            &beside.name,
            "--listen",
            &beside.listen,
        ];
        let make = [&make[..], &["--xds", &xds, "--envoy-admin", &admin]].concat();
        let make = [&make[..], &["--cache", &socket]].concat();
        let bootstrap = lab.control_plane.cli_ok(&make).await?;
        Ok(Self {
            bootstrap,
            ..beside
        })
    }

    /// Starts the sidecar.
    pub(crate) async fn start(&self, lab: &Lab) -> Result<Envoy> {
        let name = format!("{}-again", self.name);
        let admin = Port::reserve()?;
        let bootstrap = self.bootstrap.replace(
            &format!("\"port_value\": {}", self.admin.port()),
            &format!("\"port_value\": {}", admin.number()),
        );
        Envoy::start(&name, lab.scratch.path(), &bootstrap, admin).await
    }

    /// Starts the cache. Nothing is served later than `max_age` after the last contact.
    pub(crate) async fn cache(&self, lab: &Lab, max_age: &str) -> Result<Cache> {
        let mut command = lab.control_plane.command(["sidecar", "cache", &self.name]);
        command
            .args(["--listen", &self.listen, "--xds", &self.xds.to_string()])
            .args(["--max-age", max_age]);
        Cache::start(command, &self.folder).await
    }
}
