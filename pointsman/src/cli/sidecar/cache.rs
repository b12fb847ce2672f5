use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use pointsman_catalog::Endpoint;
use pointsman_envoy_config::CacheSocket;
use pointsman_xds::{ClientTls, Identity, NodeDescription};

use crate::sidecar_cache;

/// Keep a sidecar's configuration beside it, for a start while the control plane is down
#[derive(Args, Debug)]
pub(in crate::cli) struct Cache {
    /// The sidecar's name (Envoy's node.id; of a group's member what --service-node says)
    #[arg(value_parser = node_id)]
    node: String,
    /// Where the sidecar listens for applications, as its bootstrap says
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Where the control plane is reached
    #[arg(long, value_name = "HOST:PORT")]
    xds: Endpoint,
    /// Where the configuration is kept, with its age
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Where the sidecar asks: --cache of `sidecar bootstrap`
    #[arg(long, value_name = "unix:/PATH")]
    socket: CacheSocket,
    /// How long after the last contact with the control plane it may be used, such as 90s, 30m or 1h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = max_age)]
    max_age: Duration,
    #[command(flatten)]
    certificate: Certificate,
}

/// The sidecar's own certificate: PEM files, which may be replaced at any time.
#[derive(Args, Debug)]
struct Certificate {
    /// The sidecar's certificate
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca", "tls_server"])]
    tls_cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authorities that may sign the control plane's certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// The SPIFFE ID in the control plane's certificate
    #[arg(long, value_name = "SPIFFE_ID", requires = "tls_cert")]
    tls_server: Option<Identity>,
}

impl Cache {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        sidecar_cache::run(sidecar_cache::Options {
            node: self.node,
            listen: self.listen,
            xds: self.xds,
            tls: self.certificate.into_tls(),
            file: self.file,
            socket: self.socket.path().to_owned(),
            max_age: self.max_age,
        })
        .await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Certificate {
    fn into_tls(self) -> Option<ClientTls> {
        Some(ClientTls::new(
            self.tls_cert?,
            self.tls_key?,
            self.tls_ca?,
            self.tls_server?,
        ))
    }
}

fn node_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > NodeDescription::MAX_ID {
        return Err(format!(
            "a node.id has 1 to {} bytes",
            NodeDescription::MAX_ID
        ));
    }
    Ok(text.to_owned())
}

fn max_age(text: &str) -> Result<Duration, String> {
    let parsed = text
        .parse::<jiff::SignedDuration>()
        .map_err(|_| "it is no time like 90s, 30m or 1h".to_owned())?;
    let age = Duration::try_from(parsed).map_err(|_| "it is negative".to_owned())?;
    if age < MIN_AGE || age > MAX_AGE {
        return Err(format!(
            "it is not from {} s to {} h",
            MIN_AGE.as_secs(),
            MAX_AGE.as_secs() / (60 * 60)
        ));
    }
    Ok(age)
}

/// Less is not longer than a control plane takes to start.
const MIN_AGE: Duration = Duration::from_secs(5);
/// What is older says little about where a database is.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_time_within_bounds() {
        assert_eq!(max_age("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(max_age("1h 30m"), Ok(Duration::from_secs(5400)));
        for (text, named) in [
            ("", "no time"),
            ("3600", "no time"),
            ("an hour", "no time"),
            ("-1h", "negative"),
            ("4s", "5 s"),
            ("8 days", "no time"),
            ("169h", "168 h"),
        ] {
            let refused = max_age(text).unwrap_err();
            assert!(refused.contains(named), "{text}: {refused}");
        }
    }
}
