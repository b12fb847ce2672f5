//! What the parameters of a connection string mean, as types.
//! <https://www.postgresql.org/docs/current/libpq-ssl.html>

mod values;

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use self::values::Values;
use super::Conninfo;

/// How to reach a server and who to be there. It holds no password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionSpec {
    /// Addresses of one server, tried in this order.
    pub hosts: Vec<Host>,
    pub user: Option<String>,
    /// A file in the format of libpq's password file.
    pub passfile: Option<PathBuf>,
    /// Settings of the session, as `-c name=value`.
    pub options: Option<String>,
    pub tls: TlsSpec,
    pub channel_binding: ChannelBinding,
    pub keepalive: Keepalive,
}

/// One address of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    /// `host`: a name, an address, or the folder of a Unix socket. Certificates are verified against it.
    pub name: Option<String>,
    /// `hostaddr`: where to connect to, without a look-up of the name.
    pub address: Option<IpAddr>,
    pub port: u16,
}

/// `name:port`, or the address where there is no name.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.address) {
            (Some(name), Some(address)) if *name != address.to_string() => {
                write!(f, "{name} ({address}) port {}", self.port)
            }
            (Some(name), _) => write!(f, "{name} port {}", self.port),
            (None, Some(address)) => write!(f, "{address} port {}", self.port),
            (None, None) => write!(f, "no host, port {}", self.port),
        }
    }
}

/// How a session is encrypted, and what the server must prove.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsSpec {
    pub mode: SslMode,
    pub roots: Option<Roots>,
    /// The client's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// TLS begins at once, without PostgreSQL's request for it.
    pub direct: bool,
    /// Whether the server is told the name it is called by (SNI).
    pub sni: bool,
    pub lowest: TlsVersion,
    pub highest: TlsVersion,
}

/// `sslmode`, without `allow`: plain text first, and TLS only where the server insists, would send a
/// password in the clear.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    /// The certificate is signed by one of the roots.
    VerifyCa,
    /// And it is for the host.
    VerifyFull,
}

/// `sslrootcert`: whose signature counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Roots {
    File(PathBuf),
    /// Those that the operating system trusts.
    System,
    /// The authorities of Amazon RDS, which are part of this program.
    AmazonRds,
}

/// `channel_binding`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelBinding {
    Disable,
    Prefer,
    Require,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// TCP keepalive; what is `None` is the operating system's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Keepalive {
    pub enabled: bool,
    pub idle: Option<Duration>,
    pub interval: Option<Duration>,
    pub count: Option<u32>,
    pub user_timeout: Option<Duration>,
}

impl ConnectionSpec {
    /// What `info` means. A service file may still be missing from it, so host and user may be, too.
    ///
    /// # Errors
    /// Every fault, in messages that show no value but those of a fixed set.
    pub fn read(info: &Conninfo) -> Result<Self, Vec<String>> {
        let mut values = Values::new(info);
        let spec = Self {
            hosts: hosts(&mut values),
            user: values.text("user"),
            passfile: values.path("passfile"),
            options: values.text("options"),
            tls: tls(&mut values),
            channel_binding: values
                .one_of(
                    "channel_binding",
                    &[
                        ("disable", ChannelBinding::Disable),
                        ("prefer", ChannelBinding::Prefer),
                        ("require", ChannelBinding::Require),
                    ],
                )
                .unwrap_or(ChannelBinding::Prefer),
            keepalive: Keepalive {
                enabled: values.switch("keepalives").unwrap_or(true),
                idle: values.seconds("keepalives_idle"),
                interval: values.seconds("keepalives_interval"),
                count: values.number("keepalives_count").filter(|&count| count > 0),
                user_timeout: values
                    .number("tcp_user_timeout")
                    .filter(|&ms| ms > 0)
                    .map(|ms| Duration::from_millis(ms.into())),
            },
        };
        // No session here uses GSSAPI, which is what `prefer` comes to without its credentials.
        values.one_of("gssencmode", &[("disable", ()), ("prefer", ())]);
        spec.tls.check(info, &mut values);
        if spec.channel_binding == ChannelBinding::Require && spec.tls.mode < SslMode::Require {
            values.fault(
                "channel_binding=require without TLS; allowed: with sslmode=require or stronger",
            );
        }
        if spec.tls.mode == SslMode::VerifyFull && spec.hosts.iter().any(|host| host.name.is_none())
        {
            values.fault("sslmode=verify-full with a hostaddr= and no host=; allowed: the name in the certificate as host=");
        }
        values.into_faults().map(|()| spec)
    }
}

impl Host {
    /// The folder of a Unix socket.
    #[must_use]
    pub fn socket_folder(&self) -> Option<&str> {
        let name = self.name.as_deref().filter(|_| self.address.is_none())?;
        name.starts_with('/').then_some(name)
    }
}

impl TlsSpec {
    fn check(&self, info: &Conninfo, values: &mut Values<'_>) {
        match self.roots {
            None if self.mode >= SslMode::VerifyCa => values.fault(
                "sslmode=verify-… without sslrootcert=; allowed: sslrootcert=FILE, system or amazon-rds",
            ),
            // Everybody can have a certificate of theirs, for another name.
            Some(Roots::System | Roots::AmazonRds) if self.mode != SslMode::VerifyFull => values
                .fault("sslrootcert=system and amazon-rds vouch for anybody's server; allowed: with sslmode=verify-full"),
            _ => {}
        }
        if self.direct && self.mode < SslMode::Require {
            values.fault("sslnegotiation=direct; allowed: with sslmode=require or stronger");
        }
        if info.get("sslcert").is_some() != info.get("sslkey").is_some() {
            values.fault("sslcert= or sslkey= alone; allowed: both");
        }
        if self.lowest > self.highest {
            values.fault("ssl_min_protocol_version= above ssl_max_protocol_version=");
        }
    }
}

fn hosts(values: &mut Values<'_>) -> Vec<Host> {
    let names = values.list("host");
    let addresses = values.list("hostaddr");
    let ports = values.list("port");
    let count = names.len().max(addresses.len());
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        values
            .fault("host= and hostaddr= of different length; allowed: one hostaddr for each host");
        return Vec::new();
    }
    if ports.len() > 1 && ports.len() != count {
        values.fault("port= of another length than host=; allowed: one port, or one for each host");
        return Vec::new();
    }
    let mut hosts = Vec::with_capacity(count);
    for at in 0..count {
        let port = ports
            .get(at)
            .or_else(|| ports.first())
            .copied()
            .unwrap_or_default();
        let host = Host {
            name: text(names.get(at)),
            address: text(addresses.get(at)).and_then(|address| values.address(&address)),
            port: values.port(port),
        };
        if host.name.is_none() && host.address.is_none() {
            values.fault(
                "an empty host in host=; allowed: a name, an address, or the folder of a socket",
            );
        }
        hosts.push(host);
    }
    hosts
}

fn text(value: Option<&&str>) -> Option<String> {
    let value = value.filter(|value| !value.is_empty())?;
    Some((*value).to_owned())
}

fn tls(values: &mut Values<'_>) -> TlsSpec {
    let roots = match values.text("sslrootcert").as_deref() {
        Some("system") => Some(Roots::System),
        Some("amazon-rds") => Some(Roots::AmazonRds),
        _ => values.path("sslrootcert").map(Roots::File),
    };
    let modes = [
        ("disable", SslMode::Disable),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let mode = match (values.one_of("sslmode", &modes), &roots) {
        // libpq's rules: a root certificate makes `require` verify, and roots that vouch for
        // everybody make `verify-full` the default.
        (Some(SslMode::Require), Some(Roots::File(_))) => SslMode::VerifyCa,
        (None, Some(Roots::System | Roots::AmazonRds)) => SslMode::VerifyFull,
        (given, _) => given.unwrap_or(SslMode::Prefer),
    };
    if matches!(
        (mode, &roots),
        (SslMode::Disable | SslMode::Prefer, Some(_))
    ) {
        values.fault(
            "sslrootcert= verifies nobody with sslmode=prefer, which is the default, or disable; \
             allowed: sslmode=require, verify-ca or verify-full beside it",
        );
    }
    let versions = [
        ("TLSv1.2", TlsVersion::Tls12),
        ("TLSv1.3", TlsVersion::Tls13),
    ];
    TlsSpec {
        mode,
        roots,
        identity: values.path("sslcert").zip(values.path("sslkey")),
        direct: values
            .one_of("sslnegotiation", &[("postgres", false), ("direct", true)])
            .unwrap_or(false),
        sni: values.switch("sslsni").unwrap_or(true),
        lowest: values
            .one_of("ssl_min_protocol_version", &versions)
            .unwrap_or(TlsVersion::Tls12),
        highest: values
            .one_of("ssl_max_protocol_version", &versions)
            .unwrap_or(TlsVersion::Tls13),
    }
}

#[cfg(test)]
mod tests;
