//! Connections to a server: the only place that decides how one is opened, and the only one that
//! names the driver's way of connecting.

mod access;
mod login;
mod password_file;
mod service_file;
mod sources;
mod tls;

use std::{iter, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use pointsman_catalog::{ChannelBinding, Conninfo, Host, Secret, Server, SslMode};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Socket,
    config::{self, SslNegotiation},
    error::SqlState,
};

use self::access::Access;
pub(super) use self::login::{Login, Way};
pub use self::sources::SecretSources;
use super::own_looks::OwnLooks;
use crate::ports::{ConnectionAttempt, ProviderError};

/// Opens connections, with what the operator lets it read.
#[derive(Clone, Debug, Default)]
pub(super) struct Connector {
    sources: Arc<SecretSources>,
    /// What it has open for reading.
    pub(super) looks: OwnLooks,
}

/// A session that was let in, and what drives it.
pub(super) type Connected = (
    Client,
    tokio_postgres::Connection<Socket, tls::Encrypted<Socket>>,
);

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) enum ConnectError {
    /// What is declared cannot work.
    Unfit(String),
    /// The server's own words.
    Refused {
        code: SqlState,
        message: String,
        /// `pg_hba.conf` refused.
        by_access_rules: bool,
    },
    Unreachable(String),
}

impl Connector {
    pub(super) fn new(sources: SecretSources) -> Self {
        Self {
            sources: Arc::new(sources),
            looks: OwnLooks::default(),
        }
    }

    /// Reads what `server`'s declaration names on this machine, and connects to nothing.
    pub(super) fn examine(&self, server: &Server) -> Result<(), ProviderError> {
        let probed = server.as_probed();
        for server in iter::once(server).chain(&probed) {
            let access = Access::of(server, &self.sources).and_then(|access| {
                access.first_password("postgres")?;
                for host in &access.spec.hosts {
                    tls::connector(&access.spec.tls, host, &self.sources)?;
                }
                Ok(())
            });
            access.map_err(|reason| unfit(server, reason))?;
        }
        self.replication(server, "postgres", "pointsman")?;
        Ok(())
    }

    /// The role of the write probe, if one is declared. Reads what its string names on this machine.
    pub(super) fn probe_role(&self, server: &Server) -> Result<Option<String>, String> {
        let probed = server.as_probed();
        let access = probed.map(|probed| Access::of(&probed, &self.sources));
        Ok(access.transpose()?.map(|access| access.user))
    }

    /// `server` as the write probe reaches it; never by the control role.
    pub(super) fn probed(&self, server: &Server) -> Result<Server, String> {
        let probed = server.as_probed();
        let probed = probed.ok_or_else(|| format!("no `probe` is declared for {}", server.name))?;
        let control = Access::of(server, &self.sources)?.user;
        if Access::of(&probed, &self.sources)?.user == control {
            return Err(format!(
                "`probe` of {} names its control role {control}",
                server.name
            ));
        }
        Ok(probed)
    }

    /// Whether the write probe's login to `server` through a sidecar has what it needs; connects to
    /// nothing.
    pub(super) fn probe_login(&self, server: &Server, datname: &str) -> Result<(), String> {
        let access = Access::of(&self.probed(server)?, &self.sources)?;
        let login = Login {
            datname,
            application_name: "",
            options: "",
            stranger: None,
            way: Way::Through(SocketAddr::from(([127, 0, 0, 1], 0))),
        };
        for host in access.hosts(login.way) {
            access.password(&host, &login)?;
        }
        Ok(())
    }

    /// The string by which another server subscribes to `server`, with its password.
    pub(super) fn replication(
        &self,
        server: &Server,
        datname: &str,
        application_name: &str,
    ) -> Result<Secret, ProviderError> {
        access::replication(server, &self.sources, datname, application_name)
            .map_err(|reason| unfit(server, reason))
    }

    /// Opens a connection. Hosts are tried in their order, in [`CONNECT`] all together; one that
    /// answers decides.
    pub(super) async fn connect(
        &self,
        server: &Server,
        login: &Login<'_>,
    ) -> Result<Connected, ConnectError> {
        let access = Access::of(server, &self.sources).map_err(ConnectError::Unfit)?;
        let hosts = access.hosts(login.way);
        let each = CONNECT / u32::try_from(hosts.len().max(1)).unwrap_or(1);
        let mut reasons = Vec::new();
        for host in &hosts {
            match timeout(each, self.connect_to(&access, host, login)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(ConnectError::Unreachable(reason))) => {
                    reasons.push(format!("{host}: {reason}"));
                }
                Ok(Err(decided)) => return Err(decided),
                Err(_elapsed) => reasons.push(format!("{host}: no answer within {each:?}")),
            }
        }
        Err(ConnectError::Unreachable(reasons.join("; ")))
    }

    /// Opens a connection to each host of a string that names several, all at once; none to that
    /// of a string with one.
    pub(super) async fn connect_each(
        &self,
        server: &Server,
        login: &Login<'_>,
    ) -> Result<Vec<(Host, Result<Connected, ConnectError>)>, ProviderError> {
        let access = Access::of(server, &self.sources).map_err(|reason| unfit(server, reason))?;
        let hosts = access.hosts(login.way);
        if hosts.len() < 2 {
            return Ok(Vec::new());
        }
        let mut connecting = Vec::with_capacity(hosts.len());
        for host in &hosts {
            connecting.push(timeout(CONNECT, self.connect_to(&access, host, login)));
        }
        let connected = join_all(connecting).await.into_iter().map(|connected| {
            connected.unwrap_or_else(|_elapsed| {
                let reason = format!("no answer within {CONNECT:?}");
                Err(ConnectError::Unreachable(reason))
            })
        });
        let connected: Vec<_> = connected.collect();
        Ok(hosts.into_iter().zip(connected).collect())
    }

    async fn connect_to(
        &self,
        access: &Access,
        host: &Host,
        login: &Login<'_>,
    ) -> Result<Connected, ConnectError> {
        let connector =
            tls::connector(&access.spec.tls, host, &self.sources).map_err(ConnectError::Unfit)?;
        let mut config = config(access, host, login).map_err(ConnectError::Unfit)?;
        let first = config.connect(connector.clone()).await;
        let error = match first {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        // As in libpq: with `prefer`, plain text is for a server that has no TLS (which the driver
        // sees by itself), for a handshake that failed, and for rules that do not let TLS in.
        let refused = error.as_db_error().is_some();
        let again = refused || tls::handshake_failure(&error).is_some();
        if config.get_ssl_mode() != config::SslMode::Prefer || !again {
            return Err(error.into());
        }
        config.ssl_mode(config::SslMode::Disable);
        match config.connect(connector).await {
            Ok(connected) => Ok(connected),
            Err(_second) if refused => Err(error.into()),
            Err(second) => Err(second.into()),
        }
    }

    /// How the server answers one more connection over TCP, which is closed at once.
    pub(super) async fn try_connect(
        &self,
        server: &Server,
        datname: &str,
        stranger: Option<&str>,
    ) -> Result<ConnectionAttempt, ProviderError> {
        let login = Login {
            datname,
            application_name: "pointsman-knock",
            options: "",
            stranger,
            way: Way::Tcp,
        };
        match self.connect(server, &login).await {
            Ok(_connected) => Ok(ConnectionAttempt::Accepted),
            Err(ConnectError::Refused {
                code,
                message,
                by_access_rules,
            }) => Ok(ConnectionAttempt::Refused {
                closed: code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                sqlstate: code.code().to_owned(),
                message,
                by_access_rules,
            }),
            Err(ConnectError::Unreachable(reason)) => Ok(ConnectionAttempt::Unreachable { reason }),
            Err(ConnectError::Unfit(reason)) => Err(unfit(server, reason)),
        }
    }
}

/// The driver's parameters for one host.
fn config(access: &Access, host: &Host, login: &Login<'_>) -> Result<Config, String> {
    let spec = &access.spec;
    let mut config = Config::new();
    config.connect_timeout(CONNECT).port(host.port);
    match (host.socket_folder(), &host.name, host.address) {
        (Some(folder), ..) => {
            config.host_path(folder);
        }
        (None, name, Some(address)) => {
            config.hostaddr(address);
            config.host(name.clone().unwrap_or_else(|| address.to_string()));
        }
        (None, Some(name), None) => {
            config.host(name);
        }
        (None, None, None) => return Err("it has no host".to_owned()),
    }
    config
        .dbname(login.datname)
        .application_name(login.application_name);
    let options = [spec.options.as_deref().unwrap_or_default(), login.options].join(" ");
    if !options.trim().is_empty() {
        config.options(options.trim());
    }
    match login.stranger {
        Some(stranger) => {
            config.user(stranger);
        }
        None => {
            config.user(&access.user);
            if let Some(password) = access.password(host, login)? {
                config.password(password.reveal());
            }
        }
    }
    // libpq encrypts no Unix socket, with any sslmode.
    config.ssl_mode(match (host.socket_folder(), spec.tls.mode) {
        (Some(_), _) | (None, SslMode::Disable) => config::SslMode::Disable,
        (None, SslMode::Prefer) => config::SslMode::Prefer,
        (None, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => {
            config::SslMode::Require
        }
    });
    if spec.tls.direct {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    config.channel_binding(match spec.channel_binding {
        ChannelBinding::Disable => config::ChannelBinding::Disable,
        ChannelBinding::Prefer => config::ChannelBinding::Prefer,
        ChannelBinding::Require => config::ChannelBinding::Require,
    });
    keep_alive(&mut config, access);
    Ok(config)
}

fn keep_alive(config: &mut Config, access: &Access) {
    let keepalive = access.spec.keepalive;
    config.keepalives(keepalive.enabled);
    if let Some(idle) = keepalive.idle {
        config.keepalives_idle(idle);
    }
    if let Some(interval) = keepalive.interval {
        config.keepalives_interval(interval);
    }
    if let Some(count) = keepalive.count {
        config.keepalives_retries(count);
    }
    if let Some(limit) = keepalive.user_timeout {
        config.tcp_user_timeout(limit);
    }
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => Self::Refused {
                code: said.code().clone(),
                message: said.message().to_owned(),
                by_access_rules: said.routine() == Some(ACCESS_RULES),
            },
            None => {
                let message = tls::handshake_message(&error);
                Self::Unreachable(message.unwrap_or_else(|| no_connection(&error)))
            }
        }
    }
}

fn unfit(server: &Server, reason: String) -> ProviderError {
    ProviderError::Unfit {
        server: server.name.clone(),
        reason,
    }
}

/// The role of a libpq string.
pub(super) fn user_in(conninfo: &str) -> Option<String> {
    let info = Conninfo::parse(conninfo).ok()?;
    info.get("user").map(str::to_owned)
}

/// The cause alone: that there is no connection is known.
fn no_connection(error: &dyn std::error::Error) -> String {
    let cause = error.source().map_or_else(|| chain(error), chain);
    match cause.starts_with(LOOK_UP) {
        true => format!(
            "{cause}; correct host= in the connection string, or give the address as hostaddr="
        ),
        false => cause,
    }
}

pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    message
}

/// The routine that reads the rules names itself in the error, in every language; the message
/// is translated.
/// <https://www.postgresql.org/docs/current/protocol-error-fields.html>
const ACCESS_RULES: &str = "ClientAuthentication";
/// How the standard library begins the error of a name that does not resolve.
const LOOK_UP: &str = "failed to lookup address information";
/// A server in the same region accepts within milliseconds.
const CONNECT: Duration = Duration::from_secs(2);
