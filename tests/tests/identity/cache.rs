//! The cache beside a sidecar, which proves what the sidecar proves.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use pointsman_tests::cache::Cache;

use super::control_plane::SecureControlPlane;

impl SecureControlPlane {
    /// A folder with the certificate of sidecar `node` as `own.pem` and `own.key`.
    fn beside(&self, node: &str) -> Result<PathBuf> {
        let folder = self.folder().join("beside");
        fs::create_dir_all(&folder)?;
        let issued = self.sidecar(node)?;
        // As an agent would: each by a rename.
        for (from, name) in [(&issued.certificate, "own.pem"), (&issued.key, "own.key")] {
            let draft = folder.join("draft");
            fs::copy(from, &draft)?;
            fs::rename(&draft, folder.join(name))?;
        }
        Ok(folder)
    }

    /// The cache of `app-1`, which takes `server` for the control plane.
    async fn cache(&self, server: &str) -> Result<Cache> {
        let folder = self.beside("app-1")?;
        let mut command = self.control_plane.command(["sidecar", "cache", "app-1"]);
        command
            .args(["--xds", &self.xds().to_string(), "--tls-server", server])
            .arg("--tls-cert")
            .arg(folder.join("own.pem"))
            .arg("--tls-key")
            .arg(folder.join("own.key"))
            .arg("--tls-ca")
            .arg(self.folder().join("servers.pem"));
        Cache::start(command, &folder).await
    }

    async fn entitle(&self, database: &str) -> Result<()> {
        let register = ["fleet", "register", "app-1", "--listen", "127.0.0.1"];
        let register = [&register[..], &["--database", database]].concat();
        self.ok(&register).await?;
        Ok(())
    }
}

/// Waits until this database is kept and that one is not.
async fn keeps_only(cache: &Cache, database: &str, other: &str) -> Result<()> {
    let (there, absent) = (format!("writer.{database}"), format!("writer.{other}"));
    let only = || {
        let names = cache.names();
        names.is_ok_and(|names| names.contains(&there) && !names.contains(&absent))
    };
    cache.until(&format!("{there} is kept alone"), only).await
}

async fn keeps_nothing(cache: &Cache) -> Result<()> {
    cache
        .until("nothing is kept", || cache.names().is_err())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_has_what_its_sidecar_may_have_and_is_counted_nowhere() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let cache = server.cache(SERVER).await?;
    keeps_only(&cache, "orders", "billing").await?;
    let fleet = server.control_plane.cli_json(&["fleet", "status"]).await?;
    let nodes = fleet["nodes"].as_array().context("nodes")?;
    let absent = nodes.iter().filter(|node| node["state"] == "ABSENT");
    ensure!(nodes.len() == 2 && absent.count() == 2, "{fleet:#}");

    // It is told of a new entitlement, although its sidecar is not there.
    server.entitle("billing").await?;
    keeps_only(&cache, "billing", "orders").await?;
    server.ok(&["fleet", "retire", "app-1"]).await?;
    keeps_nothing(&cache).await?;
    cache.says("nobody registered it").await?;
    server.entitle("orders").await?;
    keeps_only(&cache, "orders", "billing").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_at_the_next_connection() -> Result<()> {
    let mut server = SecureControlPlane::open().await?;
    let cache = server.cache(SERVER).await?;
    keeps_only(&cache, "orders", "billing").await?;
    // That of somebody else shows that it is this one that counts.
    server.beside("app-2")?;
    server.control_plane.restart().await?;
    cache.says("node.id must be app-2").await?;
    keeps_nothing(&cache).await?;
    server.beside("app-1")?;
    keeps_only(&cache, "orders", "billing").await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_not_taken_for_the_control_plane() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let cache = server.cache("spiffe://lab.example/pointsman/other").await?;
    cache
        .says("it is spiffe://lab.example/pointsman/control-plane")
        .await?;
    keeps_nothing(&cache).await
}

const SERVER: &str = "spiffe://lab.example/pointsman/control-plane";
