//! Where a client connects.

use std::net::SocketAddr;

use tokio::sync::watch;

/// Where a client connects; asked again before each connection.
#[derive(Debug, Clone)]
pub enum Route {
    /// One address that stays the same, as a sidecar's listener does.
    Fixed(SocketAddr),
    /// The address that somebody publishes, as a client without a sidecar needs it.
    Published(watch::Receiver<SocketAddr>),
}

impl Route {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Fixed(address) => *address,
            Self::Published(address) => *address.borrow(),
        }
    }
}
