//! What the command line says when it has no connection to the admin listener.

use anyhow::{Result, ensure};
use pointsman_lab::{
    authority::{Authority, Claims, Issued},
    control_plane::{ControlPlane, Output},
    ports::Port,
    scratch::Scratch,
    tools,
};
use tokio::process::Command;

use super::control_plane::{SecureControlPlane, ended};

impl SecureControlPlane {
    /// `fleet status` at `url`, as `holder`, who trusts the file `ca`.
    async fn status_at(&self, url: &str, holder: &Issued, ca: &str) -> Result<Output> {
        let mut command = Command::new(tools::pointsman().await?);
        command
            .args(["--admin", url, "fleet", "status", "--admin-ca"])
            .arg(self.folder().join(ca))
            .arg("--admin-cert")
            .arg(&holder.certificate)
            .arg("--admin-key")
            .arg(&holder.key);
        if url.contains("localhost") {
            command.args(["--admin-name", "other.example"]);
        }
        ended(command).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_the_admin_connection_has_its_own_remedy() -> Result<()> {
    let server = SecureControlPlane::open().await?;
    let folder = server.folder();
    let admin = server.control_plane.admin();
    let secure = format!("https://{admin}");
    let claims = Claims::of("/pointsman/operator/eve");
    let known = server.operators.issue(folder, "known", claims)?;
    let stranger = Authority::new("strangers")?;
    let unknown = stranger.issue(folder, "unknown", claims)?;
    stranger.write(folder.join("strangers.pem"))?;
    let scratch = Scratch::new()?;
    let plain = ControlPlane::start(scratch.path(), "").await?;
    let nobody = Port::reserve()?.on_loopback();
    let misnamed = format!("https://localhost:{}", admin.port());
    for (what, url, holder, ca, says) in [
        (
            "plain text to TLS",
            format!("http://{admin}"),
            &known,
            "servers.pem",
            "speaks TLS: use https://",
        ),
        (
            "TLS to plain text",
            format!("https://{}", plain.admin()),
            &known,
            "servers.pem",
            "try http:// instead of https://",
        ),
        (
            "a certificate of nobody",
            secure.clone(),
            &unknown,
            "servers.pem",
            "it refuses the certificate of --admin-cert, and its log says why",
        ),
        (
            "an authority of nobody",
            secure.clone(),
            &known,
            "strangers.pem",
            "no authority in the file of --admin-ca has signed it",
        ),
        (
            "a name of nobody",
            misnamed,
            &known,
            "servers.pem",
            "say with --admin-name or POINTSMAN_ADMIN_NAME which name it has",
        ),
        (
            "nobody there",
            format!("http://{nobody}"),
            &known,
            "servers.pem",
            "is `pointsman serve` running there?",
        ),
    ] {
        let refused = server.status_at(&url, holder, ca).await?;
        ensure!(refused.code == Some(1), "{what}: {refused:?}");
        ensure!(refused.stderr.contains(says), "{what}: {refused:?}");
        ensure!(!refused.stderr.contains("went away"), "{what}: {refused:?}");
    }
    let served = server.status_at(&secure, &known, "servers.pem").await?;
    ensure!(served.code == Some(0), "{served:?}");
    Ok(())
}
