//! The connection to the admin listener.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use pointsman_proto::v1::admin_client::AdminClient;
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::Global;

/// Who asks, where the admin listener wants to know: PEM files.
#[derive(Args, Clone, Debug)]
pub(super) struct Certificate {
    /// The certificate to show to an admin address with https
    #[arg(
        long,
        global = true,
        env = "POINTSMAN_ADMIN_CERT",
        value_name = "FILE",
        requires_all = ["admin_key", "admin_ca"]
    )]
    admin_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, global = true, env = "POINTSMAN_ADMIN_KEY", value_name = "FILE")]
    admin_key: Option<PathBuf>,
    /// The authorities that may sign the control plane's certificate
    #[arg(long, global = true, env = "POINTSMAN_ADMIN_CA", value_name = "FILE")]
    admin_ca: Option<PathBuf>,
    /// The name in the control plane's certificate, if it is not the address's
    #[arg(long, global = true, env = "POINTSMAN_ADMIN_NAME", value_name = "NAME")]
    admin_name: Option<String>,
}

impl Certificate {
    fn config(&self) -> anyhow::Result<ClientTlsConfig> {
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

/// Connects to the control plane that `global` names.
pub(super) async fn connect(global: &Global) -> anyhow::Result<AdminClient<Channel>> {
    let tls = global.admin.starts_with("https://");
    if !tls && !global.admin.starts_with("http://") {
        bail!("--admin {} is not an address like {EXAMPLE}", global.admin);
    }
    let mut endpoint = Endpoint::from_shared(global.admin.clone())
        .with_context(|| format!("--admin {} is not an address like {EXAMPLE}", global.admin))?
        .connect_timeout(CONNECT_TIMEOUT)
        // A call may last as long as a switch does; a control plane that died is noticed
        // by its silence.
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .tcp_nodelay(true);
    if tls {
        endpoint = endpoint
            .tls_config(global.certificate.config()?)
            .context("the files of --admin-cert, --admin-key and --admin-ca cannot be used")?;
    }
    let channel = endpoint.connect().await.map_err(|error| {
        anyhow!(
            "the control plane at {} does not answer ({}): is `pointsman serve` running there? \
             --admin or POINTSMAN_ADMIN names another address",
            global.admin,
            innermost(&error),
        )
    })?;
    Ok(AdminClient::new(channel).max_decoding_message_size(MAX_ANSWER))
}

/// The words of a refusal; the code stays behind, the words say what to do.
pub(super) fn refusal(status: &Status) -> anyhow::Error {
    if status.code() == Code::Unimplemented {
        return anyhow!(
            "the control plane does not know this request: it is of another version than this \
             program ({})",
            env!("CARGO_PKG_VERSION")
        );
    }
    if is_transport(status) {
        return anyhow!(
            "the control plane went away before it answered ({}): what was under way is in its \
             record; look with `migration status` once it is back",
            innermost(status)
        );
    }
    anyhow!("{}", status.message())
}

/// The status was made on this side, from a broken connection.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

const EXAMPLE: &str = "http://127.0.0.1:18001";
/// The admin listener is near; what does not answer in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A migration's whole record travels in one message.
const MAX_ANSWER: usize = 64 << 20;
