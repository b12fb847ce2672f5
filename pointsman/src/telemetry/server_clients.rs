use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use pointsman_catalog::Catalog;
use pointsman_cutover::ports::{Clients, Clock, Providers};

use crate::publish::AddressBook;

/// Says who is connected to a server.
#[async_trait]
pub(crate) trait AskClients: fmt::Debug + Send + Sync {
    /// The clients of the server at `endpoint`.
    ///
    /// # Errors
    /// Why they are not known, for people.
    async fn clients(&self, endpoint: SocketAddr) -> Result<Clients, String>;
}

/// Asks the servers of the catalogue.
#[derive(Debug)]
pub(crate) struct ServerClients {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) addresses: Arc<AddressBook>,
    pub(crate) providers: Providers,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl AskClients for ServerClients {
    async fn clients(&self, endpoint: SocketAddr) -> Result<Clients, String> {
        let name = self.addresses.server_at(endpoint);
        let name = name.ok_or_else(|| format!("no server has the address {endpoint} now"))?;
        let server = self.catalog.server(&name).await;
        let server = server.map_err(|error| error.to_string())?;
        let look = async { self.providers.of(&server)?.clients(&server).await };
        match self.clock.timeout(PATIENCE, look).await {
            Ok(found) => found.map_err(|error| error.to_string()),
            Err(_elapsed) => Err(format!("server {name} did not answer within {PATIENCE:?}")),
        }
    }
}

/// A server that is reached answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
