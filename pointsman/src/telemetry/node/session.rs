use std::{net::SocketAddr, sync::Arc};

use pointsman_cutover::ports::Monotonic;

use crate::telemetry::report::{Connection, RouteKey};

/// A connection of an application that stands through to a server.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) route: Arc<RouteKey>,
    pub(super) endpoint: SocketAddr,
    /// The sidecar's own end of the connection to the server.
    pub(super) socket: Option<SocketAddr>,
    pub(super) last_entry: Monotonic,
    received_bytes: u64,
    sent_bytes: u64,
}

impl Session {
    pub(super) fn new(route: Arc<RouteKey>, endpoint: SocketAddr, now: Monotonic) -> Self {
        Self {
            route,
            endpoint,
            socket: None,
            last_entry: now,
            received_bytes: 0,
            sent_bytes: 0,
        }
    }

    /// Takes its next entry. Returns how many bytes were received and sent since the entry before: each entry
    /// counts them from the beginning of the connection.
    pub(super) fn take(&mut self, connection: &Connection, now: Monotonic) -> (u64, u64) {
        self.last_entry = now;
        self.socket = connection.socket.or(self.socket);
        let received = connection
            .received_bytes
            .saturating_sub(self.received_bytes);
        let sent = connection.sent_bytes.saturating_sub(self.sent_bytes);
        self.received_bytes += received;
        self.sent_bytes += sent;
        (received, sent)
    }
}
