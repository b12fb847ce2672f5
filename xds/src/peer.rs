use std::{fmt, net::SocketAddr, sync::Arc};

/// The other end of a connection, as far as the transport proves it. What a client says of
/// itself is a [`crate::NodeDescription`].
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Of the client's certificate; `None` on a connection without TLS.
    pub identity: Option<Identity>,
}

/// A SPIFFE ID, `spiffe://trust-domain/path`.
/// <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity(Arc<str>);

impl Identity {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
