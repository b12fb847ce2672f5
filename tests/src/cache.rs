//! A `pointsman sidecar cache` at work.

use std::{
    collections::BTreeSet,
    fs::{self, File},
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
    service::discovery::v3::{DeltaDiscoveryResponse, Resource},
};
use prost::Message as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

/// A running cache. It is killed on drop.
#[derive(Debug)]
pub struct Cache {
    process: Child,
    folder: PathBuf,
    // A cache that prints to a closed pipe would fail for that.
    _stdout: BufReader<ChildStdout>,
}

impl Cache {
    /// Starts `command`, a `sidecar cache` that lacks a file and a socket. Those lie in `folder`.
    ///
    /// # Errors
    /// If it does not say that it is ready.
    pub async fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let log = File::create(folder.join(LOG))?;
        command
            .args(["--socket", &Self::socket(folder)])
            .arg("--file")
            .arg(folder.join(KEPT))
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut process = command.spawn()?;
        let mut stdout = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut line = String::new();
        timeout(DEADLINE, stdout.read_line(&mut line)).await??;
        let cache = Self {
            process,
            folder: folder.to_owned(),
            _stdout: stdout,
        };
        let log = cache.log()?;
        ensure!(line.starts_with("ready "), "it said {line:?}\n{log}");
        Ok(cache)
    }

    /// The socket of a cache in `folder`, as command lines name it.
    #[must_use]
    pub fn socket(folder: &Path) -> String {
        format!("unix:{}", folder.join("cache.sock").display())
    }

    /// The names of everything that it keeps.
    ///
    /// # Errors
    /// If it keeps nothing, or nothing that can be read.
    pub fn names(&self) -> Result<BTreeSet<String>> {
        let resources = self.resources()?.into_iter();
        Ok(resources.map(|resource| resource.name).collect())
    }

    /// The port of the endpoint that it keeps for the writer of `database`; `None` if there is none.
    ///
    /// # Errors
    /// If it keeps nothing, or nothing that can be read.
    pub fn writer(&self, database: &str) -> Result<Option<i32>> {
        let name = format!("writer.{database}");
        for resource in self.resources()? {
            if let Some(body) = resource.resource.filter(|_| resource.name == name)
                && body.type_url.ends_with("ClusterLoadAssignment")
            {
                return Ok(port(&ClusterLoadAssignment::decode(&*body.value)?));
            }
        }
        Ok(None)
    }

    /// Waits until it keeps this port for the writer of `database`.
    ///
    /// # Errors
    /// If it does not.
    pub async fn keeps(&self, database: &str, port: Option<i32>) -> Result<()> {
        let what = format!("{port:?} for the writer of {database}");
        let keeps = || self.writer(database).is_ok_and(|kept| kept == port);
        self.until(&what, keeps).await
    }

    /// Waits until its log has this.
    ///
    /// # Errors
    /// If it does not.
    pub async fn says(&self, what: &str) -> Result<()> {
        let says = || self.log().is_ok_and(|log| log.contains(what));
        self.until(what, says).await
    }

    /// Waits until `holds`.
    ///
    /// # Errors
    /// If it does not.
    pub async fn until(&self, what: &str, holds: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            let late = || format!("not: {what}\n{}", self.log().unwrap_or_default());
            ensure!(Instant::now() < deadline, late());
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Everything that it has logged.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder.join(LOG))?)
    }

    /// Ends it at once (`kill -9`).
    ///
    /// # Errors
    /// If that fails.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Stops it where it is: its connections stay open.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn freeze(&self) -> Result<()> {
        self.signal("STOP").await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it has ended.
    pub async fn thaw(&self) -> Result<()> {
        self.signal("CONT").await
    }

    async fn signal(&self, name: &str) -> Result<()> {
        let pid = self.process.id().context("it has ended")?.to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        ensure!(sent.await?.success(), "no signal was sent");
        Ok(())
    }

    fn resources(&self) -> Result<Vec<Resource>> {
        let bytes = fs::read(self.folder.join(KEPT))?;
        let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
        let mut messages = lines.nth(2).context("two lines")?;
        let mut resources = Vec::new();
        while !messages.is_empty() {
            let message = DeltaDiscoveryResponse::decode_length_delimited(&mut messages)?;
            resources.extend(message.resources);
        }
        Ok(resources)
    }
}

/// The port of the healthy endpoint.
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

const KEPT: &str = "kept";
const LOG: &str = "cache.log";
/// No wait of a test may last longer; none says anything about speed.
const DEADLINE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
