//! Servers, a control plane with certificates, and a sidecar group; nobody is registered.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use pointsman_lab::{
    authorities::Authorities,
    authority::{Claims, Issued},
    control_plane::ControlPlane,
    ports::Port,
    postgres::{PairOptions, PostgresPair, PostgresServer, start_standby},
    scratch::Scratch,
};

/// The sidecar group, and the database that exists for its members.
pub(crate) const GROUP: &str = "orders";

pub(crate) struct Stage {
    // Ended in this order: each before what it depends on.
    pub(crate) control_plane: ControlPlane,
    pub(crate) source: PostgresServer,
    pub(crate) target: PostgresServer,
    pub(crate) authorities: Authorities,
    /// Where each member offers the writer, on its own address.
    pub(crate) writer: Port,
    reader: Port,
    targets: usize,
    declared: Vec<(String, SocketAddr)>,
    scratch: Scratch,
}

impl Stage {
    pub(crate) async fn open() -> Result<Self> {
        let scratch = Scratch::new()?;
        let options = PairOptions {
            databases: vec![GROUP.to_owned()],
            ..PairOptions::default()
        };
        let pair = PostgresPair::start(scratch.path(), &options).await?;
        let authorities = Authorities::new()?;
        let security = authorities.security(scratch.path())?;
        let stage = Self {
            control_plane: ControlPlane::start_with(scratch.path(), SETTINGS, security).await?,
            source: pair.source,
            target: pair.target,
            authorities,
            writer: Port::reserve()?,
            reader: Port::reserve()?,
            targets: 1,
            declared: Vec::new(),
            scratch,
        };
        Ok(stage)
    }

    /// Tells the control plane of the servers, and of the group once they are known.
    pub(crate) async fn declare(&mut self) -> Result<()> {
        let known = [&self.source, &self.target].map(|it| (it.name().to_owned(), it.address()));
        for server in known {
            if !self.declared.contains(&server) {
                self.declared.push(server);
            }
        }
        let mut text = String::new();
        for (name, at) in &self.declared {
            writeln!(text, "[servers.{name}]\nendpoint = \"{at}\"")?;
            writeln!(
                text,
                "control = \"host={ip} port={port} user=postgres\"\n\
                 probe = \"host={ip} port={port} user=probe\"\nfence = \"sql+hba\"",
                ip = at.ip(),
                port = at.port()
            )?;
        }
        writeln!(
            text,
            "[databases.{GROUP}]\nwriter = \"{}\"\nlisten = {{ writer = {}, reader = {} }}",
            self.source.name(),
            self.writer.number(),
            self.reader.number()
        )?;
        let file = self.folder().join("dal.toml");
        fs::write(&file, text)?;
        let file = file.display().to_string();
        self.ok(&["database", "apply", &file]).await?;
        Ok(())
    }

    pub(crate) async fn add_group(&self) -> Result<()> {
        let pattern = format!("spiffe://lab.example/{GROUP}/*");
        let add = ["fleet", "group", "add", GROUP, "--spiffe", &pattern];
        self.ok(&[&add[..], &["--database", GROUP]].concat())
            .await?;
        Ok(())
    }

    /// Replaces the target, which a rollback has left closed, by a new standby of the source.
    pub(crate) async fn new_target(&mut self) -> Result<()> {
        self.target.stop().await?;
        let session = self.source.client("postgres").await?;
        session
            .batch_execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active",
            )
            .await
            .context("dropping the slots of former targets")?;
        fs::remove_dir_all(self.target.data_folder())?;
        self.targets += 1;
        let name = format!("green{}", self.targets);
        self.target = start_standby(&name, self.folder(), &self.source).await?;
        self.declare().await
    }

    /// The certificate of a member whose SPIFFE ID ends with `/orders/PATH`.
    pub(crate) fn member(&self, path: &str) -> Result<Issued> {
        let claims = format!("/{GROUP}/{path}");
        self.authorities
            .sidecars
            .issue(self.folder(), path, Claims::of(&claims))
    }

    pub(crate) async fn ok(&self, args: &[&str]) -> Result<String> {
        self.control_plane.cli_ok(args).await
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }
}

/// Two cores carry servers, sidecars, clients and control plane together.
const SETTINGS: &str = "[hold]\nbudget_ms = 30000\n[barrier]\ndeadline_ms = 8000\n\
                        [switch]\ncatch_up_ms = 10000\npromote_ms = 20000\n\
                        [alarm]\nfailures = 20\n";
