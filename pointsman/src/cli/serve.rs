mod tls;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{parts::Parts, serve, settings::Settings};

/// Run the control plane
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// The folder of the store
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Make a new, empty store; refused when there is one
    #[arg(long)]
    init: bool,
    /// Settings (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where sidecars connect (ADS)
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:18000")]
    xds_listen: SocketAddr,
    /// Where operators connect
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:18001")]
    admin_listen: SocketAddr,
    /// Allow an admin address that is not loopback: everybody who reaches it commands the fleet,
    /// unencrypted
    #[arg(long)]
    admin_plaintext_anywhere: bool,
    /// Allow an address for sidecars that is not loopback: everybody who reaches it is told where
    /// every database is, and passes for any sidecar, unencrypted
    #[arg(long)]
    xds_plaintext_anywhere: bool,
    #[command(flatten)]
    certificates: tls::Certificates,
}

impl Serve {
    pub(super) async fn run(self, parts: Parts) -> anyhow::Result<ExitCode> {
        let settings = match &self.config {
            Some(path) => Settings::load(path)?,
            None => Settings::default(),
        };
        serve::run(serve::Options {
            data_dir: self.data_dir,
            init: self.init,
            settings,
            xds_listen: self.xds_listen,
            admin_listen: self.admin_listen,
            tls: self.certificates.into_options(),
            xds_anywhere: self.xds_plaintext_anywhere,
            admin_anywhere: self.admin_plaintext_anywhere,
            parts,
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    }
}
