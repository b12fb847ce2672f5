use std::time::Duration;

/// Limits for clients. Durations above ten years count as ten years.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. Further ones wait in the listener's queue until one closes. Each takes a file
    /// handle: the process's limit of open files must be higher than this, with room for its other
    /// files. Default: 40,000.
    pub connections: usize,
    /// Connections that are accepted per second, and at once after a pause. Further ones wait in the
    /// listener's queue. Over TLS this limits the handshakes, too. Default: 10,000.
    pub connections_per_second: u32,
    /// Open discovery streams. A further one is refused with RESOURCE_EXHAUSTED. Default: 20,000.
    pub streams: usize,
    /// Open telemetry streams. Envoy opens one per worker and one for metrics. Default: 40,000.
    pub telemetry_streams: usize,
    /// Streams of any kind on one connection. Default: 64.
    pub streams_per_connection: u32,
    /// Size of one message from a client, in bytes. Envoy's node alone is about 61 kB, and all metrics
    /// of one flush are one message. Default: 4 MiB.
    pub request_bytes: usize,
    /// Size of the header fields of one request, in bytes, with 32 more for each field. Default: 16
    /// KiB.
    pub header_bytes: u32,
    /// Names that one stream may subscribe to, over all types. Also the number of missing resources
    /// that a client may claim to have when its stream begins. Each name costs about 200 bytes.
    /// Default: 16,384.
    pub names: usize,
    /// Size of all names that one stream subscribes to, in bytes. A client that reconnects sends each
    /// name twice, within [`Limits::request_bytes`]. Default: 1.5 MiB.
    pub name_bytes: usize,
    /// How long a connection may stay without its first stream, a stream without its first request,
    /// and a request without its end. The same holds for telemetry streams and their reports.
    /// Default: 10 s.
    pub first_request: Duration,
    /// How long [`crate::NodeDirectory::admit`] may take. Default: 5 s.
    pub admission: Duration,
    /// How long a response may stay unanswered before its client is lagging. Envoy may withhold the
    /// ACK of a cluster for 15 s. Default: 20 s.
    pub answer: Duration,
    /// How long a connection may be idle before a keep-alive PING is sent. Default: 10 s.
    pub keepalive_interval: Duration,
    /// How long the answer to a PING may take. Then the connection is closed. Default: 5 s.
    pub keepalive_timeout: Duration,
    /// How long a client may read nothing while data waits for it. Then the connection is closed.
    /// Default: 20 s.
    pub write: Duration,
    /// How long a connection is used. Then the client is asked to open another one, within
    /// [`Limits::drain`]. The age varies by up to a quarter, so that connections that opened together
    /// do not close together. Default: unlimited.
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
    /// Clamps the durations, so that they can be added to any time.
    pub(super) fn clamped(self) -> Self {
        let clamp = |time: Duration| time.min(LONGEST);
        Self {
            first_request: clamp(self.first_request),
            admission: clamp(self.admission),
            answer: clamp(self.answer),
            keepalive_interval: clamp(self.keepalive_interval),
            keepalive_timeout: clamp(self.keepalive_timeout),
            write: clamp(self.write),
            connection_age: self.connection_age.map(clamp),
            drain: clamp(self.drain),
            ..self
        }
    }
}

const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
