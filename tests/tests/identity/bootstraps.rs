//! What `sidecar bootstrap` does with the files that it is given.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{authority::Issued, control_plane::Output, envoy::Envoy, ports::Port};

use super::control_plane::{SecureControlPlane, ended};

impl SecureControlPlane {
    /// `sidecar bootstrap` of `subject`, run in the folder of the certificates.
    async fn bootstrap_in_folder(&self, subject: &[&str], shown: &Issued) -> Result<Output> {
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let certificate = name(&shown.certificate).context("certificate")?;
        let key = name(&shown.key).context("key")?;
        let mut command = self.control_plane.command(["sidecar", "bootstrap"]);
        command
            .args(subject)
            .args(["--tls-cert", &certificate, "--tls-key", &key])
            .args(["--tls-ca", "servers.pem"])
            .current_dir(self.folder());
        ended(command).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_made_with_relative_paths_is_good_in_any_folder() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let shown = server.sidecar("app-1")?;
    let admin = Port::reserve()?;
    let at = admin.on_loopback().to_string();
    let subject = ["app-1", "--listen", "127.0.0.1", "--envoy-admin", &at];
    let made = server.bootstrap_in_folder(&subject, &shown).await?;
    ensure!(made.code == Some(0), "{made:?}");
    let mut sidecar = Envoy::start("app-1", server.folder(), &made.stdout, admin).await?;
    sidecar.listening(server.writers[0].on_loopback()).await?;
    sidecar.kill().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_sidecar_could_not_use_is_refused() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let pattern = ["--spiffe", "spiffe://lab.example/web/*"];
    let add = ["fleet", "group", "add", "web", "--database", "orders"];
    server.ok(&[&add[..], &pattern].concat()).await?;
    let own = server.sidecar("app-3")?;
    let others = server.sidecar("app-2")?;
    let torn = Issued {
        certificate: own.certificate.clone(),
        key: others.key.clone(),
    };
    let no_certificate = Issued {
        certificate: own.key.clone(),
        key: own.key.clone(),
    };
    let node = &["app-3", "--listen", "127.0.0.1", "--database", "orders"][..];
    for (subject, shown, why) in [
        (node, &torn, "do not go together"),
        (node, &no_certificate, "holds no certificate"),
        (
            node,
            &others,
            "spiffe://<trust domain>/pointsman/sidecar/app-3",
        ),
        (&["--group", "web"], &own, "spiffe://lab.example/web/*"),
    ] {
        let refused = server.bootstrap_in_folder(subject, shown).await?;
        ensure!(refused.code == Some(1), "{why}: {refused:?}");
        ensure!(refused.stderr.contains(why), "{why}: {refused:?}");
        ensure!(refused.stdout.is_empty(), "{refused:?}");
    }
    let status = server.ok(&["fleet", "status"]).await?;
    ensure!(!status.contains("app-3"), "it was registered: {status}");

    // The files may be on the sidecar's machine alone.
    let elsewhere = Issued {
        certificate: server.folder().join("elsewhere.pem"),
        key: own.key.clone(),
    };
    let made = server.bootstrap_in_folder(node, &elsewhere).await?;
    ensure!(made.code == Some(0), "{made:?}");
    ensure!(made.stderr.contains("warning: "), "{made:?}");
    ensure!(
        made.stderr.contains("elsewhere.pem cannot be read"),
        "{made:?}"
    );
    Ok(())
}
