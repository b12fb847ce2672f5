use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use pointsman_envoy_config::{Secrets, TlsToControlPlane};
use pointsman_xds::{ClientTls, Identity, TlsError};

use super::subject::{Subject, Who};

/// How the sidecar proves who it is. The paths are the sidecar's own, and those that are relative count
/// from the present folder; its files, PEM, may be replaced at any time, by a rename.
#[derive(Args, Debug)]
pub(super) struct Certificate {
    /// The sidecar's certificate
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authorities that may sign the control plane's certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// The folder for two files that lead Envoy to the others, and that are written here under the
    /// sidecar's name; that of the certificate when absent
    #[arg(long, value_name = "DIR", requires = "tls_cert")]
    tls_sds_dir: Option<PathBuf>,
}

impl Certificate {
    /// What the bootstrap of `subject` says; `server` is the control plane's SPIFFE ID, empty where it
    /// speaks plain text to sidecars.
    pub(super) async fn into_bootstrap(
        self,
        subject: &Subject,
        server: String,
    ) -> anyhow::Result<Option<TlsToControlPlane>> {
        let (Some(certificate), Some(key), Some(authorities)) =
            (self.tls_cert, self.tls_key, self.tls_ca)
        else {
            if server.is_empty() {
                return Ok(None);
            }
            bail!(
                "the control plane serves only sidecars with a certificate: name this one's with \
                 --tls-cert, --tls-key and --tls-ca"
            );
        };
        if server.is_empty() {
            bail!(
                "the control plane speaks plain text to sidecars: start it with --xds-tls-cert, \
                 or leave --tls-cert out"
            );
        }
        let secrets = Secrets {
            certificate: absolute(&certificate)?,
            key: absolute(&key)?,
            authorities: absolute(&authorities)?,
        };
        let folder = match &self.tls_sds_dir {
            Some(folder) => absolute(folder)?,
            None => secrets
                .certificate
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
        };
        let known_as = server.parse().context("the control plane's SPIFFE ID")?;
        check(&secrets, subject, known_as).await?;
        let name = FileName::of(subject);
        Ok(Some(TlsToControlPlane {
            certificate: name.write(&folder, "certificate", &secrets.certificate())?,
            authorities: name.write(&folder, "authorities", &secrets.authorities())?,
            server,
        }))
    }
}

/// Envoy is started in a folder of its own, and follows a file in a folder that its path names.
fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(path)
        .with_context(|| format!("{} is no path of a file", path.display()))?;
    if absolute.to_str().is_none() {
        bail!(
            "{} is not UTF-8, and the bootstrap cannot name it: rename it",
            absolute.display()
        );
    }
    Ok(absolute)
}

/// Refuses a certificate that `subject` could not use. Files that are not on this machine, or that only the
/// sidecar may read, are not checked, which is said.
async fn check(secrets: &Secrets, subject: &Subject, server: Identity) -> anyhow::Result<()> {
    let Secrets {
        certificate,
        key,
        authorities,
    } = secrets.clone();
    match ClientTls::new(certificate, key, authorities, server)
        .identity()
        .await
    {
        Ok(identity) => subject
            .accepts(&identity)
            .with_context(|| format!("{} cannot be used", secrets.certificate.display())),
        Err(unreadable @ TlsError::Unreadable { .. }) => {
            let warning = format!(
                "warning: {unreadable}; so the certificate was not checked here, and the sidecar must find its \
                 files under these paths"
            );
            writeln!(std::io::stderr(), "{warning}").ok();
            Ok(())
        }
        Err(refused) => bail!("the sidecar cannot use its certificate: {refused}"),
    }
}

/// The name of the files that lead one sidecar to its certificate. Sidecars may share a folder.
enum FileName {
    Own(String),
    /// The members of a group have one name.
    Shared(String),
}

impl FileName {
    /// What the files of `subject` are called by. The members of a group share theirs.
    fn of(subject: &Subject) -> Self {
        match &subject.who {
            Who::Sidecar(node) => Self::Own(format!("sidecar-{node}")),
            Who::Members(group, _) => Self::Shared(format!("group-{group}")),
        }
    }

    /// Writes a file to `folder`. What leads another member to its certificate stays.
    fn write(&self, folder: &Path, what: &str, text: &str) -> anyhow::Result<PathBuf> {
        let (Self::Own(name) | Self::Shared(name)) = self;
        let path = folder.join(format!("sds-{what}-{name}.json"));
        if matches!(self, Self::Shared(_))
            && std::fs::read_to_string(&path).is_ok_and(|former| former != text)
        {
            bail!(
                "{} is there already and leads a member to other files: name another folder with \
                 --tls-sds-dir, or remove it if no member uses it",
                path.display()
            );
        }
        write(path, text)
    }
}

fn write(path: PathBuf, text: &str) -> anyhow::Result<PathBuf> {
    std::fs::write(&path, text).with_context(|| {
        format!(
            "cannot write {}: name a folder that this user may write to with --tls-sds-dir",
            path.display()
        )
    })?;
    writeln!(std::io::stderr(), "wrote {}", path.display()).ok();
    Ok(path)
}
