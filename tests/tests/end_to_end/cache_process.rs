//! A `pointsman sidecar cache`, and the Envoy that asks it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{HealthStatus, address, socket_address::PortSpecifier},
        endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
    },
    service::discovery::v3::DeltaDiscoveryResponse,
};
use pointsman_lab::{Lab, envoy::Envoy, ports::Port, sidecar_name};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

use super::support::SOON;

/// What a sidecar and its cache share.
pub(crate) struct Beside {
    name: String,
    listen: String,
    xds: SocketAddr,
    pub(crate) folder: PathBuf,
    pub(crate) admin: SocketAddr,
    bootstrap: String,
}

/// A running cache. It is killed on drop.
pub(crate) struct Cache {
    process: Child,
    folder: PathBuf,
    // A cache that prints to a closed pipe would fail for that.
    _stdout: BufReader<ChildStdout>,
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
        let socket = beside.socket();
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

    fn socket(&self) -> String {
        format!("unix:{}", self.folder.join("cache.sock").display())
    }
}

impl Cache {
    /// Nothing is served later than `max_age` after the last contact.
    pub(crate) async fn start(lab: &Lab, beside: &Beside, max_age: &str) -> Result<Self> {
        let log = File::create(beside.folder.join("cache.log"))?;
        let file = beside.folder.join("kept");
        let mut command = lab
            .control_plane
            .command(["sidecar", "cache", &beside.name]);
        command
            .args(["--listen", &beside.listen, "--xds", &beside.xds.to_string()])
            .args(["--max-age", max_age, "--socket", &beside.socket()])
            .arg("--file")
            .arg(file);
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let mut stdout = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut line = String::new();
        timeout(SOON, stdout.read_line(&mut line)).await??;
        let cache = Self {
            process,
            folder: beside.folder.clone(),
            _stdout: stdout,
        };
        ensure!(
            line.starts_with("ready "),
            "it said {line:?}\n{}",
            cache.log()?
        );
        Ok(cache)
    }

    /// Waits until its file says that this port is where the writer of orders is.
    pub(crate) async fn keeps(&self, port: i32) -> Result<()> {
        let deadline = Instant::now() + SOON;
        loop {
            let kept = kept_writer(&self.folder.join("kept"));
            if matches!(kept, Ok(Some(found)) if found == port) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "it keeps {kept:?}\n{}",
                self.log()?
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until its log has this.
    pub(crate) async fn says(&self, what: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while !self.log()?.contains(what) {
            ensure!(
                Instant::now() < deadline,
                "not said: {what}\n{}",
                self.log()?
            );
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Ends it at once (`kill -9`).
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join("cache.log"))?)
    }

    /// Stops it where it is: its connections stay open.
    pub(crate) async fn freeze(&self) -> Result<()> {
        self.signal("STOP").await
    }

    pub(crate) async fn thaw(&self) -> Result<()> {
        self.signal("CONT").await
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.process.id().context("it has ended")?.to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        ensure!(sent.await?.success(), "no signal was sent");
        Ok(())
    }
}

/// The port of the healthy endpoint of the writer of orders, in the file of a cache.
fn kept_writer(file: &Path) -> Result<Option<i32>> {
    let bytes = fs::read(file)?;
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut messages = lines.nth(2).context("two lines")?;
    while !messages.is_empty() {
        let message = DeltaDiscoveryResponse::decode_length_delimited(&mut messages)?;
        let mut resources = message.resources.iter();
        let found = resources.find(|resource| resource.name == "writer.orders");
        if let Some(body) = found.and_then(|resource| resource.resource.as_ref())
            && body.type_url.ends_with("ClusterLoadAssignment")
        {
            return Ok(port(&ClusterLoadAssignment::decode(&*body.value)?));
        }
    }
    Ok(None)
}

fn port(assignment: &ClusterLoadAssignment) -> Option<i32> {
    let localities = assignment.endpoints.iter();
    let mut endpoints = localities.flat_map(|locality| &locality.lb_endpoints);
    let healthy = endpoints.find(|one| one.health_status == HealthStatus::Healthy as i32)?;
    let HostIdentifier::Endpoint(endpoint) = healthy.host_identifier.as_ref()? else {
        return None;
    };
    let address::Address::SocketAddress(address) = endpoint.address.as_ref()?.address.as_ref()?
    else {
        return None;
    };
    match address.port_specifier.as_ref()? {
        PortSpecifier::PortValue(port) => i32::try_from(*port).ok(),
        PortSpecifier::NamedPort(_) => None,
    }
}
