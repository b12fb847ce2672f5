use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use tonic::transport::{ClientTlsConfig, Identity};

/// Who asks, where the admin listener wants to know: PEM files.
#[derive(Args, Clone, Debug)]
pub(super) struct Certificate {
    /// The certificate to show to an admin address with https
    #[arg(
        long,
        global = true,
        env = "POINTSMAN_ADMIN_CERT",
        value_name = "FILE",
        help_heading = CONNECTION,
        requires_all = ["admin_key", "admin_ca"]
    )]
    admin_cert: Option<PathBuf>,
    /// Its private key
    #[arg(
        long,
        global = true,
        env = "POINTSMAN_ADMIN_KEY",
        value_name = "FILE",
        help_heading = CONNECTION
    )]
    admin_key: Option<PathBuf>,
    /// The authorities that may sign the control plane's certificate
    #[arg(
        long,
        global = true,
        env = "POINTSMAN_ADMIN_CA",
        value_name = "FILE",
        help_heading = CONNECTION
    )]
    admin_ca: Option<PathBuf>,
    /// The name in the control plane's certificate, if it is not the address's
    #[arg(
        long,
        global = true,
        env = "POINTSMAN_ADMIN_NAME",
        value_name = "NAME",
        help_heading = CONNECTION
    )]
    admin_name: Option<String>,
}

impl Certificate {
    /// Shows it to the control plane, and trusts the authorities that it names.
    pub(super) fn config(&self) -> anyhow::Result<ClientTlsConfig> {
        let (Some(certificate), Some(key), Some(ca)) =
            (&self.admin_cert, &self.admin_key, &self.admin_ca)
        else {
            bail!(
                "an admin address with https wants to know who asks: name your certificate with \
                 --admin-cert, --admin-key and --admin-ca"
            );
        };
        let config = ClientTlsConfig::new()
            .ca_certificate(tonic::transport::Certificate::from_pem(read(ca)?))
            .identity(Identity::from_pem(read(certificate)?, read(key)?));
        Ok(match &self.admin_name {
            Some(name) => config.domain_name(name),
            None => config,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Above what every verb takes, in its help.
pub(super) const CONNECTION: &str = "Connection and output";
