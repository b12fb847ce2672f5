use std::net::SocketAddr;

/// What a connection is for.
#[derive(Debug)]
pub(in super::super) struct Login<'a> {
    pub(in super::super) datname: &'a str,
    pub(in super::super) application_name: &'a str,
    /// Settings of the session, behind those of the connection string.
    pub(in super::super) options: &'a str,
    /// Another role than the control role, without a password.
    pub(in super::super) stranger: Option<&'a str>,
    pub(in super::super) way: Way,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Way {
    /// To the hosts of the connection string.
    Direct,
    /// As applications go: over TCP. The endpoint stands in for a Unix socket.
    Tcp,
    /// By the listener of a sidecar, to the server behind it.
    Through(SocketAddr),
}
