//! Who is connected, by the other end of the connection.

use std::net::{IpAddr, SocketAddr};

use pointsman_catalog::Server;

use super::{
    connection::Connector,
    session::{Purpose, Session},
};
use crate::ports::{Clients, ProviderError};

/// The clients of `server`, on a read-only session of its own.
pub(super) async fn look_at(
    connector: &Connector,
    server: &Server,
) -> Result<Clients, ProviderError> {
    let session = Session::open(connector, server, "postgres", &Purpose::Preflight).await?;
    let unread = |reason: String| ProviderError::Failed {
        server: server.name.clone(),
        what: LIST.to_owned(),
        reason,
    };
    let about = session.row(LIST, ABOUT, &[]).await?;
    let own: Option<String> = about.get("own");
    let hidden = u64::try_from(about.get::<_, i64>("hidden"));
    let rows = session.rows(LIST, SOCKETS, &[]).await?;
    let sockets = rows.iter().map(|row| socket(row.get(0), row.get(1)));
    Ok(Clients {
        sockets: sockets.collect::<Result<_, _>>().map_err(unread)?,
        hidden: hidden.map_err(|error| unread(error.to_string()))?,
        own: own.as_deref().map(address).transpose().map_err(unread)?,
    })
}

fn socket(host: &str, port: i32) -> Result<SocketAddr, String> {
    let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
    Ok(SocketAddr::new(address(host)?, port))
}

fn address(host: &str) -> Result<IpAddr, String> {
    let parsed = host.parse();
    parsed.map_err(|_| format!("{host:?} is no IP address"))
}

const LIST: &str = "list its clients";

/// Of sessions that a role may not see the server shows no kind.
/// <https://www.postgresql.org/docs/current/monitoring-stats.html>
const ABOUT: &str = "SELECT host(inet_client_addr()) AS own, \
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type IS NULL) AS hidden";

const SOCKETS: &str = "SELECT host(client_addr), client_port FROM pg_stat_activity \
     WHERE client_addr IS NOT NULL AND pid <> pg_backend_pid()";
