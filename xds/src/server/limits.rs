use std::time::Duration;

/// What clients may cost. Times above ten years count as ten years.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that are open at once. More wait in the listener's queue until one closes.
    /// Each takes a file handle: the process's limit of open files must be above this, with room
    /// for what else it opens, or that limit is met first. Default: 40,000.
    pub connections: usize,
    /// Connections that are taken up within a second, and at once after a pause. More wait in the
    /// listener's queue: nobody is turned away for good. Over TLS this bounds the handshakes,
    /// too, which begin as connections are taken up. Default: 10,000.
    pub connections_per_second: u32,
    /// Discovery streams that are open at once; one more is refused with RESOURCE_EXHAUSTED.
    /// Default: 20,000.
    pub streams: usize,
    /// Telemetry streams that are open at once. Envoy opens one per worker and one for metrics.
    /// Default: 40,000.
    pub telemetry_streams: usize,
    /// Streams of any kind on one connection. Default: 64.
    pub streams_per_connection: u32,
    /// In bytes, of one message from a client, in discovery and telemetry. Envoy's node alone is
    /// about 61 kB, and all metrics of one flush are one message. Default: 4 MiB.
    pub request_bytes: usize,
    /// In bytes, of the header fields of one request, 32 more counted for each. Default: 16 KiB.
    pub header_bytes: u32,
    /// Names that one stream subscribes to, over all types; and of which a client may say, when
    /// its stream begins, that it has them though they do not exist. Each costs some 200 bytes.
    /// Default: 16,384.
    pub names: usize,
    /// Of all names that one stream subscribes to, in bytes; one alone may have as many. A client
    /// that comes back says each twice, within [`Limits::request_bytes`]. Default: 1.5 MiB.
    pub name_bytes: usize,
    /// How long a connection may stay without its first stream, an open stream without its first
    /// request, and a request without its end; likewise a telemetry stream and its reports.
    /// Default: 10 s.
    pub first_request: Duration,
    /// How long [`crate::NodeDirectory::admit`] may take. Default: 5 s.
    pub admission: Duration,
    /// How long a response may stay unanswered before its client counts as lagging. Envoy may
    /// withhold the ACK of a cluster for 15 s. Default: 20 s.
    pub answer: Duration,
    /// How long a connection may be silent before it is asked for a sign of life. Default: 10 s.
    pub keepalive_interval: Duration,
    /// How long the sign of life may take; then the connection is closed. Default: 5 s.
    pub keepalive_timeout: Duration,
    /// How long a client may take nothing of what waits for it; then the connection is closed.
    /// Default: 20 s.
    pub write: Duration,
    /// How long a connection is used: then the client is asked to open another, and has
    /// [`Limits::drain`] for it. A quarter more or less, so that connections which opened
    /// together do not close together. Default: for good.
    pub connection_age: Option<Duration>,
    /// How long open streams may take to end when the server stops. Default: 5 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 40_000,
            connections_per_second: 10_000,
            streams: 20_000,
            telemetry_streams: 40_000,
            streams_per_connection: 64,
            request_bytes: 4 << 20,
            header_bytes: 16 << 10,
            names: 1 << 14,
            name_bytes: 3 << 19,
            first_request: Duration::from_secs(10),
            admission: Duration::from_secs(5),
            answer: Duration::from_secs(20),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            write: Duration::from_secs(20),
            connection_age: None,
            drain: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// With times that can be added to any that comes.
    pub(super) fn with_ends(self) -> Self {
        let ending = |time: Duration| time.min(LONGEST);
        Self {
            first_request: ending(self.first_request),
            admission: ending(self.admission),
            answer: ending(self.answer),
            keepalive_interval: ending(self.keepalive_interval),
            keepalive_timeout: ending(self.keepalive_timeout),
            write: ending(self.write),
            connection_age: self.connection_age.map(ending),
            drain: ending(self.drain),
            ..self
        }
    }
}

const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
