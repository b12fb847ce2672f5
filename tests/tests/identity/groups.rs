//! Sidecars that are served by their certificate alone.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{
    authority::{Claims, Issued},
    envoy::Envoy,
    ports::Port,
};
use serde_json::Value;
use tokio::time::{interval, timeout};

use super::control_plane::SecureControlPlane;

/// The member whose certificate says `/web/blue`.
const BLUE: &str = "web/blue";

impl SecureControlPlane {
    /// Declares group `web`, whose members may see orders.
    async fn group(&self) -> Result<()> {
        let add = ["fleet", "group", "add", "web"];
        let pattern = ["--spiffe", "spiffe://lab.example/web/*"];
        let database = ["--database", "orders"];
        self.ok(&[&add[..], &pattern, &database].concat()).await?;
        Ok(())
    }

    fn member(&self, name: &str) -> Result<Issued> {
        let path = format!("/web/{name}");
        self.sidecars.issue(self.folder(), name, Claims::of(&path))
    }

    /// The arguments that name a certificate.
    fn shown(&self, of: &Issued) -> Vec<String> {
        let authority = self.folder().join("servers.pem");
        [
            ("--tls-cert", &of.certificate),
            ("--tls-key", &of.key),
            ("--tls-ca", &authority),
        ]
        .into_iter()
        .flat_map(|(flag, file)| [flag.to_owned(), file.display().to_string()])
        .collect()
    }

    async fn bootstrap(&self, args: &[&str], shown: &[String]) -> Result<String> {
        let shown = shown.iter().map(String::as_str);
        let begin = ["sidecar", "bootstrap"].into_iter();
        let args: Vec<_> = begin.chain(args.iter().copied()).chain(shown).collect();
        self.ok(&args).await
    }

    /// The row of a sidecar, once it satisfies `holds`.
    async fn row_until(&self, node: &str, holds: impl Fn(Option<&Value>) -> bool) -> Result<()> {
        let reached = async {
            let mut looks = interval(Duration::from_millis(50));
            loop {
                looks.tick().await;
                let status = self.control_plane.cli_json(&["fleet", "status"]).await?;
                let nodes = status["nodes"].as_array().context("nodes")?;
                if holds(nodes.iter().find(|row| row["node"] == node)) {
                    return anyhow::Ok(());
                }
            }
        };
        timeout(PATIENCE, reached)
            .await
            .with_context(|| self.log().unwrap_or_default())?
    }
}

fn is_synced(row: Option<&Value>) -> bool {
    row.is_some_and(|row| row["state"] == "SYNCED" && row["lease"] == "held")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bootstrap_serves_the_members_of_a_group_and_nobody_registers_them() -> Result<()> {
    let mut server = SecureControlPlane::open().await?;
    server.group().await?;
    let blue = server.member("blue")?;
    let admin = Port::reserve()?;
    let at = admin.on_loopback().to_string();
    let args = ["--group", "web", "--envoy-admin", &at];
    let bootstrap = server.bootstrap(&args, &server.shown(&blue)).await?;
    let folder = server.folder();
    let mut sidecar = Envoy::start("blue", folder, &bootstrap, admin).await?;
    let [orders, billing] = server.writers.each_ref().map(Port::on_loopback);
    sidecar.listening(orders).await?;
    server.row_until(BLUE, is_synced).await?;
    let status = server.control_plane.cli_json(&["fleet", "status"]).await?;
    let rows = status["nodes"].as_array().context("nodes")?;
    let row = rows.iter().find(|row| row["node"] == BLUE).context("row")?;
    ensure!(row["registered"] == false && row["group"] == "web", "{row}");
    ensure!(row["identity"] == "spiffe://lab.example/web/blue", "{row}");
    ensure!(
        row["databases"]["names"] == serde_json::json!(["orders"]),
        "{row}"
    );
    let accepted = tokio::net::TcpStream::connect(billing).await;
    ensure!(accepted.is_err(), "billing does not exist for it");
    let group = server.ok(&["fleet", "group", "show", "web"]).await?;
    ensure!(group.contains(BLUE), "{group}");

    // The next certificate is used for the next connection, and is that of the same member.
    server.member("blue")?;
    server.control_plane.restart().await?;
    server.row_until(BLUE, is_synced).await?;

    // One that went is awaited, in case it comes back.
    sidecar.kill().await?;
    server
        .row_until(BLUE, |row| {
            row.is_some_and(|row| row["state"] == "ABSENT" && row["lease"] != "held")
        })
        .await?;
    // It was the only one of its group, so that may have been its way: an operator knows better.
    server.ok(&["fleet", "retire", BLUE]).await?;
    server.row_until(BLUE, |row| row.is_none()).await?;
    let shown = server.ok(&["fleet", "show", BLUE]).await?;
    ensure!(shown.contains("gone"), "{shown}");

    // It comes back as the member that it was, until its group is removed.
    sidecar.restart().await?;
    server.row_until(BLUE, is_synced).await?;
    server.ok(&["fleet", "group", "remove", "web"]).await?;
    server.row_until(BLUE, |row| row.is_none()).await?;
    let denials = server.denials().await?;
    let denied = denials
        .iter()
        .any(|(principal, _)| principal == "spiffe://lab.example/web/blue");
    ensure!(denied, "{denials:?}");
    sidecar.kill().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sidecars_in_one_folder_keep_their_own_files() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    server.group().await?;
    let mut bootstraps = Vec::new();
    for name in ["app-1", "app-2"] {
        let shown = server.shown(&server.sidecar(name)?);
        let args = [name, "--listen", "127.0.0.1"];
        bootstraps.push(server.bootstrap(&args, &shown).await?);
    }
    for (bootstrap, own) in bootstraps.iter().zip(["app-1.pem", "app-2.pem"]) {
        let bootstrap: Value = serde_json::from_str(bootstrap)?;
        let context = &bootstrap["static_resources"]["clusters"][0]["transport_socket"]["typed_config"]
            ["common_tls_context"];
        let path = &context["tls_certificate_sds_secret_configs"][0]["sds_config"]["path_config_source"]
            ["path"];
        let secret = fs::read_to_string(path.as_str().context("path")?)?;
        ensure!(secret.contains(own), "{own}: {secret}");
    }
    // The members of a group have one name, and one's files are not another's.
    let [blue, green] = [server.member("blue")?, server.member("green")?];
    server
        .bootstrap(&["--group", "web"], &server.shown(&blue))
        .await?;
    server
        .bootstrap(&["--group", "web"], &server.shown(&blue))
        .await?;
    let refused = server
        .bootstrap(&["--group", "web"], &server.shown(&green))
        .await;
    let refused = refused.unwrap_err().to_string();
    ensure!(refused.contains("--tls-sds-dir"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_that_fails_registers_nobody() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let of_new = server.shown(&server.sidecar("new")?);
    let nowhere = server.folder().join("no-such-folder").display().to_string();
    let args = [
        "new",
        "--listen",
        "127.0.0.1",
        "--database",
        "orders",
        "--tls-sds-dir",
        &nowhere,
    ];
    let refused = server.bootstrap(&args, &of_new).await;
    let refused = refused.unwrap_err().to_string();
    ensure!(refused.contains("no-such-folder"), "{refused}");
    let status = server.control_plane.cli_json(&["fleet", "status"]).await?;
    let nodes = status["nodes"].as_array().context("nodes")?;
    ensure!(nodes.iter().all(|node| node["node"] != "new"), "{status}");
    server.bootstrap(&args[..5], &of_new).await?;
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(60);
