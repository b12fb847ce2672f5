//! A whole deployment: servers, control plane and sidecars, set up by the command line
//! alone, as an operator would.

mod cloud;
mod gates;

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep};

pub use self::{
    cloud::Cloud,
    gates::{GateOptions, Gates},
};
use crate::{
    control_plane::{ControlPlane, Security},
    envoy::Envoy,
    gate::Gate,
    ports::Port,
    postgres::{Contents, Hosting, PairOptions, PostgresPair, Ways},
    scratch::{Scratch, Storage},
};

const SYNC_DEADLINE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a lab is to be like.
#[derive(Clone, Debug)]
pub struct LabOptions {
    pub sidecars: u8,
    /// The application databases, all on one server.
    pub databases: Vec<String>,
    /// Of both servers, as are the next two.
    pub hosting: Hosting,
    /// See [`PairOptions::major`].
    pub major: Option<u32>,
    /// See [`PairOptions::tls`].
    pub tls: bool,
    /// Lines for `postgresql.conf` of both servers.
    pub server_settings: String,
    /// How long the promotion of a managed pair takes.
    pub promotion_takes: Duration,
    /// The fence level declared for both servers: `sql+hba` or `sql`.
    pub fence: String,
    /// The text of Pointsman's configuration file.
    pub settings: String,
    /// Where PostgreSQL's files lie; measurements of commits need [`Storage::Disk`].
    pub storage: Storage,
    pub gates: GateOptions,
    /// Its flags, its environment, and which program it is.
    pub control_plane: Security,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            sidecars: 3,
            databases: PairOptions::default().databases,
            hosting: Hosting::default(),
            major: None,
            tls: false,
            server_settings: String::new(),
            promotion_takes: Duration::from_secs(1),
            fence: "sql+hba".to_owned(),
            settings: String::new(),
            storage: Storage::default(),
            gates: GateOptions::default(),
            control_plane: Security::default(),
        }
    }
}

/// A logical database, and the ports at which each sidecar offers it.
#[derive(Debug)]
pub struct Database {
    pub name: String,
    writer: Port,
    reader: Port,
}

/// A running lab: server `blue` serves every database, `green` is its standby, Pointsman
/// knows both, and every sidecar is SYNCED.
#[derive(Debug)]
pub struct Lab {
    // Ended in this order: each before what it depends on.
    pub control_plane: ControlPlane,
    pub sidecars: Vec<Envoy>,
    pub gates: Gates,
    /// Of a managed pair.
    pub cloud: Option<Cloud>,
    pub pair: PostgresPair,
    pub databases: Vec<Database>,
    pub scratch: Scratch,
    fence: String,
}

impl Lab {
    /// Starts everything.
    pub async fn start(options: LabOptions) -> Result<Self> {
        let scratch = Scratch::on(options.storage)?;
        let pair_options = PairOptions {
            databases: options.databases.clone(),
            hosting: options.hosting,
            major: options.major,
            tls: options.tls,
            gate_replication: options.gates.replication,
            storage: options.storage,
            contents: Contents {
                settings: options.server_settings,
                ..Contents::default()
            },
            ..PairOptions::default()
        };
        let pair = PostgresPair::start(scratch.path(), &pair_options).await?;
        let cloud = Cloud::start(&pair, options.promotion_takes).await?;
        let mut security = options.control_plane;
        if let Some(cloud) = &cloud {
            security.environment.push(cloud.environment());
            security.program = Some(Cloud::PROGRAM);
        }
        let control_plane =
            ControlPlane::start_with(scratch.path(), &options.settings, security).await?;
        let gates = Gates::start(&options.gates, &pair, &control_plane).await?;
        let databases = options
            .databases
            .into_iter()
            .map(Database::reserve)
            .collect::<Result<_>>()?;
        let mut lab = Self {
            control_plane,
            sidecars: Vec::new(),
            gates,
            cloud,
            pair,
            databases,
            scratch,
            fence: options.fence,
        };
        lab.declare().await?;
        let gated = options.gates.xds_of;
        let starting =
            (0..options.sidecars).map(|number| lab.sidecar(number, gated == Some(number)));
        lab.sidecars = try_join_all(starting).await?;
        lab.synced().await?;
        lab.listening().await?;
        Ok(lab)
    }

    /// Tells Pointsman of the servers and the databases.
    async fn declare(&self) -> Result<()> {
        let path = self.scratch.path().join("databases.toml");
        fs::write(&path, self.declaration()?)?;
        let path = path.to_string_lossy();
        self.control_plane
            .cli_ok(&["database", "apply", &path])
            .await?;
        Ok(())
    }

    /// The text of the file that `database apply` takes.
    fn declaration(&self) -> Result<String> {
        let Self { pair, gates, .. } = self;
        let mut text = String::new();
        let source = (&pair.source, &gates.source_control, &None);
        let target = (&pair.target, &gates.target_control, &gates.reverse_stream);
        for (server, control, replication) in [source, target] {
            let through = |gate: &Option<Gate>| {
                gate.as_ref()
                    .map_or_else(|| server.address(), Gate::address)
            };
            // A cloud's control role does not stream, and certificates are each machine's own.
            let separate = server.hosting() == Hosting::Managed
                || replication.is_some()
                || server.root_certificate().is_some();
            let ways = Ways {
                fence: &self.fence,
                control: through(control),
                replication: separate.then(|| through(replication)),
            };
            text.push_str(&server.declaration(ways, self.scratch.path())?);
        }
        let (writer, reader) = (pair.source.name(), pair.target.name());
        for database in &self.databases {
            let name = &database.name;
            writeln!(text, "[databases.{name}]\ndatname = \"{name}\"")?;
            writeln!(text, "writer = \"{writer}\"\nreaders = [\"{reader}\"]")?;
            writeln!(
                text,
                "listen = {{ writer = {}, reader = {} }}",
                database.writer.number(),
                database.reader.number()
            )?;
        }
        Ok(text)
    }

    /// Registers a sidecar and starts its Envoy.
    async fn sidecar(&self, number: u8, gated: bool) -> Result<Envoy> {
        let name = sidecar_name(number);
        let admin = Port::reserve()?;
        let xds = match &self.gates.xds {
            Some(gate) if gated => gate.address(),
            Some(_) | None => self.control_plane.xds(),
        };
        let bootstrap = self
            .control_plane
            .cli_ok(&[
                "sidecar",
                "bootstrap",
                &name,
                "--listen",
                &sidecar_ip(number).to_string(),
                "--xds",
                &xds.to_string(),
                "--envoy-admin",
                &admin.on_loopback().to_string(),
            ])
            .await?;
        Envoy::start(&name, self.scratch.path(), &bootstrap, admin).await
    }

    /// Where sidecar `number` offers the writer of `database` to applications.
    #[must_use]
    pub fn writer(&self, number: u8, database: &Database) -> SocketAddr {
        SocketAddr::new(sidecar_ip(number), database.writer.number())
    }

    /// Where sidecar `number` offers readers of `database` to applications.
    #[must_use]
    pub fn reader(&self, number: u8, database: &Database) -> SocketAddr {
        SocketAddr::new(sidecar_ip(number), database.reader.number())
    }

    /// Waits until every registered sidecar is SYNCED.
    pub async fn synced(&self) -> Result<()> {
        let deadline = Instant::now() + SYNC_DEADLINE;
        loop {
            let fleet = self.control_plane.cli_json(&["fleet", "status"]).await?;
            let nodes = fleet["nodes"].as_array().map(Vec::as_slice);
            let nodes = nodes.context("fleet status shows no nodes")?;
            if nodes.iter().all(|node| node["state"] == "SYNCED") {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tail = self.control_plane.log_tail();
                bail!("the fleet is not SYNCED after {SYNC_DEADLINE:?}: {fleet:#}\n{tail}");
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until every sidecar accepts applications.
    async fn listening(&self) -> Result<()> {
        for (number, sidecar) in (0..).zip(&self.sidecars) {
            for database in &self.databases {
                sidecar.listening(self.writer(number, database)).await?;
                sidecar.listening(self.reader(number, database)).await?;
            }
        }
        Ok(())
    }

    /// The status of migration `name`, as `migration status --output json` prints it.
    pub async fn migration(&self, name: &str) -> Result<Value> {
        self.control_plane
            .cli_json(&["migration", "status", name])
            .await
    }

    /// Waits until the status of migration `name` satisfies `holds`, and returns it.
    pub async fn migration_until(
        &self,
        name: &str,
        deadline: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let end = Instant::now() + deadline;
        loop {
            let status = self.migration(name).await?;
            if holds(&status) {
                return Ok(status);
            }
            if Instant::now() > end {
                let tail = self.control_plane.log_tail();
                bail!("migration {name} is still like this after {deadline:?}: {status:#}\n{tail}");
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Database {
    fn reserve(name: String) -> Result<Self> {
        Ok(Self {
            name,
            writer: Port::reserve()?,
            reader: Port::reserve()?,
        })
    }
}

/// Sidecars are called `sc0`, `sc1`, …
#[must_use]
pub fn sidecar_name(number: u8) -> String {
    format!("sc{number}")
}

/// Each sidecar has a loopback address of its own, which on Linux needs no set-up.
fn sidecar_ip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, number + 1))
}
