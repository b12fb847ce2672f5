//! A real Envoy that proves who it is.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use pointsman_lab::{envoy::Envoy, ports::Port};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    time::{interval, timeout},
};

use super::control_plane::SecureControlPlane;

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_gets_its_listeners_over_mutual_tls_and_its_certificate_rotates() -> Result<()> {
    let mut server = SecureControlPlane::open().await?;
    let shown = server.sidecar("app-1")?;
    let admin = Port::reserve()?;
    let bootstrap = server
        .ok(&[
            "sidecar",
            "bootstrap",
            "app-1",
            "--listen",
            "127.0.0.1",
            "--envoy-admin",
            &admin.on_loopback().to_string(),
            "--tls-cert",
            &shown.certificate.display().to_string(),
            "--tls-key",
            &shown.key.display().to_string(),
            "--tls-ca",
            &server.folder().join("servers.pem").display().to_string(),
        ])
        .await?;
    let mut sidecar = Envoy::start("app-1", server.folder(), &bootstrap, admin).await?;
    let [orders, billing] = server.writers.each_ref().map(Port::on_loopback);
    sidecar.listening(orders).await?;
    until_synced(&server).await?;
    assert!(!accepts(billing).await, "billing does not exist for app-1");

    // The next certificate is used for the next connection: that to a new control plane.
    server.sidecar("app-1")?;
    server.control_plane.restart().await?;
    until_synced(&server).await?;
    assert!(accepts(orders).await);

    // It is told at once when something else exists for it.
    let register = ["fleet", "register", "app-1", "--listen", "127.0.0.1"];
    server
        .ok(&[&register[..], &["--database", "billing"]].concat())
        .await?;
    sidecar.listening(billing).await?;
    until_synced(&server).await?;
    assert!(!accepts(orders).await, "orders exists for app-1 no longer");

    // And is served no longer once it is retired.
    server.ok(&["fleet", "retire", "app-1"]).await?;
    until(&server, |_| {
        let log = server.log().unwrap_or_default();
        log.contains("access denied: nobody registered it")
    })
    .await?;
    sidecar.kill().await
}

async fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

async fn until_synced(server: &SecureControlPlane) -> Result<()> {
    until(server, |status| status["nodes"][0]["state"] == "SYNCED").await
}

async fn until(server: &SecureControlPlane, holds: impl Fn(&Value) -> bool) -> Result<()> {
    let synced = async {
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            let status = server.control_plane.cli_json(&["fleet", "status"]).await?;
            if holds(&status) {
                return anyhow::Ok(());
            }
        }
    };
    let log = || server.log().unwrap_or_default();
    timeout(PATIENCE, synced).await.with_context(log)?
}

const PATIENCE: Duration = Duration::from_secs(60);
