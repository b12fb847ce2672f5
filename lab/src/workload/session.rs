//! One PostgreSQL session together with the task that drives it.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls, config::SslMode};

use crate::postgres::ClientTls;

/// A session; dropping it cuts the connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    driver: JoinSet<Result<(), tokio_postgres::Error>>,
}

/// Why no session could be opened.
#[derive(Debug)]
pub struct ConnectError {
    /// The server's SQLSTATE, if it said one.
    pub sqlstate: Option<String>,
    /// What happened, where, to which database.
    pub message: String,
}

/// What a session logs in as.
#[derive(Debug, Clone)]
pub struct Login {
    /// The role.
    pub user: String,
    /// Its password, if the server asks for one.
    pub password: Option<String>,
    /// Without it the session is not encrypted.
    pub tls: Option<ClientTls>,
    /// The database.
    pub datname: String,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
}

impl Session {
    /// Opens a session at `address`.
    ///
    /// # Errors
    /// The server refuses, or the session is not ready within `patience`.
    pub async fn open(
        address: SocketAddr,
        login: &Login,
        patience: Duration,
    ) -> Result<Self, ConnectError> {
        let Login {
            user,
            password,
            tls,
            datname,
            application_name,
        } = login;
        let mut config = Config::new();
        match tls {
            None => config.host(address.ip().to_string()),
            Some(tls) => config
                .host(tls.name())
                .hostaddr(address.ip())
                .ssl_mode(SslMode::Require),
        };
        config
            .port(address.port())
            .user(user)
            .dbname(datname)
            .application_name(application_name);
        if let Some(password) = password {
            config.password(password);
        }
        let place = format!("connecting to {address}, database {datname}");
        let mut driver = JoinSet::new();
        let connecting = async {
            match tls {
                None => {
                    let (client, connection) = config.connect(NoTls).await?;
                    driver.spawn(connection);
                    Ok(client)
                }
                Some(tls) => {
                    let (client, connection) = config.connect(tls.connector()).await?;
                    driver.spawn(connection);
                    Ok(client)
                }
            }
        };
        match timeout(patience, connecting).await {
            Ok(Ok(client)) => Ok(Self { client, driver }),
            Ok(Err(error)) => Err(ConnectError::refused(&place, &error)),
            Err(_) => Err(ConnectError::silent(&place, patience)),
        }
    }

    /// The client's side of the session.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the session is known to be gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Ends the session in order and says what ended it if it was gone already.
    pub async fn close(self) -> Option<tokio_postgres::Error> {
        let Self { client, mut driver } = self;
        drop(client);
        let ended = timeout(CLOSE_DEADLINE, driver.join_next()).await;
        let outcome = ended.ok().flatten().and_then(Result::ok);
        outcome.and_then(Result::err)
    }
}

impl ConnectError {
    fn refused(place: &str, error: &tokio_postgres::Error) -> Self {
        Self {
            sqlstate: sqlstate(error),
            message: format!("{place}: {}", error_message(error)),
        }
    }

    fn silent(place: &str, patience: Duration) -> Self {
        Self {
            sqlstate: None,
            message: format!("{place}: no answer within {patience:?}"),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ConnectError {}

/// The SQLSTATE of an error that a server reported.
pub(super) fn sqlstate(error: &tokio_postgres::Error) -> Option<String> {
    error.code().map(|state| state.code().to_owned())
}

/// An error's message with its cause, which the driver's own `Display` leaves out.
#[must_use]
pub fn error_message(error: &tokio_postgres::Error) -> String {
    if let Some(reported) = error.as_db_error() {
        return format!("{}: {}", reported.severity(), reported.message());
    }
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// How long a server may take to accept the message that ends a session; then it is cut off.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
