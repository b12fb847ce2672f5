use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use pointsman_envoy_config::{Secrets, TlsToControlPlane};

/// How the sidecar proves who it is. The paths are the sidecar's own; its files, PEM, may be
/// replaced at any time, by a rename.
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
    /// What the bootstrap says, whose files have `name`; `server` is the control plane's SPIFFE ID, empty where it
    /// speaks plain text to sidecars.
    pub(super) fn into_bootstrap(
        self,
        name: &FileName,
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
        let folder = self.tls_sds_dir.unwrap_or_else(|| {
            let folder = certificate.parent().map(Path::to_owned);
            folder.unwrap_or_default()
        });
        let secrets = Secrets {
            certificate,
            key,
            authorities,
        };
        Ok(Some(TlsToControlPlane {
            certificate: name.write(&folder, "certificate", &secrets.certificate())?,
            authorities: name.write(&folder, "authorities", &secrets.authorities())?,
            server,
        }))
    }
}

/// The name of the files that lead one sidecar to its certificate. Sidecars may share a folder.
pub(super) enum FileName {
    Own(String),
    /// The members of a group have one name.
    Shared(String),
}

impl FileName {
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
