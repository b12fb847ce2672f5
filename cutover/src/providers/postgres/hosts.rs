//! Several hosts in a connection string are names of one server. Whether they are is for the
//! servers there to say.

use pointsman_catalog::{Server, ServerName};

use super::{
    connection::{ConnectError, Connected, Connector, Login, Way},
    session::{Purpose, Session},
};
use crate::ports::{HostSeen, Instance, ProviderError};

/// What each host of `server`'s string, which is in `field` of its declaration, leads to.
pub(super) async fn look_at(
    field: &'static str,
    connector: &Connector,
    server: &Server,
) -> Result<Vec<HostSeen>, ProviderError> {
    let purpose = Purpose::Preflight;
    let login = Login {
        datname: "postgres",
        application_name: &purpose.application_name(),
        options: purpose.options(),
        stranger: None,
        way: Way::Direct,
    };
    let connected = connector.connect_each(server, &login).await?;
    let mut seen = Vec::with_capacity(connected.len());
    for (host, connected) in connected {
        seen.push(HostSeen {
            field,
            host: host.to_string(),
            leads_to: instance(&server.name, connected).await,
        });
    }
    Ok(seen)
}

async fn instance(
    server: &ServerName,
    connected: Result<Connected, ConnectError>,
) -> Result<Instance, String> {
    let connected = connected.map_err(|error| match error {
        ConnectError::Unfit(reason) | ConnectError::Unreachable(reason) => reason,
        ConnectError::Refused { code, message, .. } => format!("{message} ({})", code.code()),
    })?;
    let asked = ask(server, connected).await;
    asked.map_err(|error| error.to_string())
}

async fn ask(server: &ServerName, connected: Connected) -> Result<Instance, ProviderError> {
    let session = Session::over(server, connected).await?;
    let what = "ask which server it is";
    let row = session.row(what, INSTANCE, &[]).await?;
    Ok(Instance {
        system_identifier: row.get(0),
        in_recovery: row.get(1),
        started: session.server_started,
    })
}

const INSTANCE: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
     pg_is_in_recovery()";
