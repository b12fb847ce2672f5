//! A control plane with certificates on both sides, and two databases.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Result, ensure};
use pointsman_lab::{
    authorities::Authorities,
    authority::{Authority, Claims, Issued},
    control_plane::{ControlPlane, Output},
    ports::Port,
    scratch::Scratch,
};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

pub(crate) struct SecureControlPlane {
    pub(crate) control_plane: ControlPlane,
    /// Signs the control plane's own certificates.
    pub(crate) servers: Authority,
    pub(crate) sidecars: Authority,
    pub(crate) operators: Authority,
    /// Where applications reach the writers of orders and of billing.
    pub(crate) writers: [Port; 2],
    scratch: Scratch,
    _readers: [Port; 2],
}

impl SecureControlPlane {
    /// `app-1` may see orders, `app-2` everything.
    pub(crate) async fn open() -> Result<Self> {
        let scratch = Scratch::new()?;
        let folder = scratch.path();
        let authorities = Authorities::new()?;
        let security = authorities.security(folder)?;
        let Authorities {
            servers,
            sidecars,
            operators,
        } = authorities;
        let server = Self {
            control_plane: ControlPlane::start_with(folder, "", security).await?,
            servers,
            sidecars,
            operators,
            writers: [Port::reserve()?, Port::reserve()?],
            _readers: [Port::reserve()?, Port::reserve()?],
            scratch,
        };
        server.declare().await?;
        let register = ["fleet", "register", "app-1", "--listen", "127.0.0.1"];
        server
            .ok(&[&register[..], &["--database", "orders"]].concat())
            .await?;
        let register = ["fleet", "register", "app-2", "--listen", "127.0.0.2"];
        server
            .ok(&[&register[..], &["--all-databases"]].concat())
            .await?;
        Ok(server)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// What a sidecar of this name shows.
    pub(crate) fn sidecar(&self, node: &str) -> Result<Issued> {
        let path = format!("/pointsman/sidecar/{node}");
        self.sidecars.issue(self.folder(), node, Claims::of(&path))
    }

    pub(crate) async fn ok(&self, args: &[&str]) -> Result<String> {
        self.control_plane.cli_ok(args).await
    }

    /// Runs a verb with the certificate of `holder`.
    pub(crate) async fn verb_as(&self, holder: &Issued, args: &[&str]) -> Result<Output> {
        let mut all = Vec::new();
        for (flag, file) in [
            ("--admin-cert", &holder.certificate),
            ("--admin-key", &holder.key),
        ] {
            all.extend([flag.to_owned(), file.display().to_string()]);
        }
        let ca = self.folder().join("servers.pem");
        all.extend(["--admin-ca".to_owned(), ca.display().to_string()]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        self.control_plane.plain_cli(&all).await
    }

    /// The access denials that `fleet status` shows: principal and reason.
    pub(crate) async fn denials(&self) -> Result<Vec<(String, String)>> {
        let status = self.control_plane.cli_json(&["fleet", "status"]).await?;
        let denials = status["access_denials"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(denials
            .iter()
            .map(|of| (text(&of["principal"]), text(&of["reason"])))
            .collect())
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.folder().join("pointsman.log"))?)
    }

    /// The log's line about a refused connection: the client knows of it before it is written.
    pub(crate) async fn refusal(&self, why: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log()?;
            let mut refusals = log
                .lines()
                .filter(|line| line.contains("a connection is refused"));
            if let Some(line) = refusals.find(|line| line.contains(why)) {
                return Ok(line.to_owned());
            }
            ensure!(Instant::now() < deadline, "not in the log: {why}\n{log}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn xds(&self) -> SocketAddr {
        self.control_plane.xds()
    }

    async fn declare(&self) -> Result<()> {
        let [orders, billing] = self.writers.each_ref().map(Port::number);
        let [orders_reader, billing_reader] = self._readers.each_ref().map(Port::number);
        let declaration = self.folder().join("dal.toml");
        let text = format!(
            "[servers.blue]\nendpoint = \"127.0.0.1:1\"\ncontrol = \"host=127.0.0.1 user=postgres\"\n\
             [databases.orders]\nwriter = \"blue\"\nreaders = [\"blue\"]\n\
             listen = {{ writer = {orders}, reader = {orders_reader} }}\n\
             [databases.billing]\nwriter = \"blue\"\nreaders = [\"blue\"]\n\
             listen = {{ writer = {billing}, reader = {billing_reader} }}\n"
        );
        fs::write(&declaration, text)?;
        let path = declaration.display().to_string();
        self.ok(&["database", "apply", &path]).await?;
        Ok(())
    }
}

/// Runs a command line to its end.
pub(crate) async fn ended(mut command: Command) -> Result<Output> {
    let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await??;
    Ok(Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

const PATIENCE: Duration = Duration::from_secs(20);
