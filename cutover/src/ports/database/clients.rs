use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// The other ends of the connections to a server, as the server sees them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Clients {
    /// Of all that came over TCP.
    pub sockets: BTreeSet<SocketAddr>,
    /// Sessions whose other end the control role may not see.
    pub hidden: u64,
    /// Where the session that asked comes from; `None` over a Unix socket.
    pub own: Option<IpAddr>,
}
