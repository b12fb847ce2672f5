//! A client that frames by hand, and does only what it is told to.

use std::io;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use pointsman_xds::ResourceType;
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::control_plane::{TestControlPlane, node, soon};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACCESS_LOGS: &str =
    "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
pub(crate) const METRICS: &str = "/envoy.service.metrics.v3.MetricsService/StreamMetrics";
pub(crate) const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

pub(crate) struct Wire(pub(crate) BufReader<TcpStream>);

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Wire {
    pub(crate) async fn connect(server: &TestControlPlane) -> Self {
        let socket = soon(TcpStream::connect(server.address())).await.unwrap();
        // Small frames must not wait for the acknowledgement of others.
        socket.set_nodelay(true).unwrap();
        Self(BufReader::new(socket))
    }

    /// Connected, and both have said how they talk.
    pub(crate) async fn greet(server: &TestControlPlane) -> Self {
        let mut wire = Self::connect(server).await;
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        wire.frame(SETTINGS, 0, 0, &[]).await;
        let first = wire.read().await.unwrap();
        assert_eq!(first.kind, SETTINGS);
        wire
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).await.unwrap();
    }

    /// # Errors
    /// When the server has closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        soon(self.0.write_all(bytes)).await
    }

    pub(crate) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.send(&framed(kind, flags, stream, payload)).await;
    }

    /// Opens a stream of delta discovery.
    pub(crate) async fn open(&mut self, stream: u32) {
        self.frame(HEADERS, END_HEADERS, stream, &head(DELTA)).await;
    }

    /// A message in as many frames as it takes; waits for no window.
    pub(crate) async fn message(&mut self, stream: u32, message: &impl Message) {
        for data in grpc(message).chunks(16_384) {
            self.frame(DATA, 0, stream, data).await;
        }
    }

    /// A message as the windows allow, of a stream that has sent nothing yet; the connection's
    /// window grows with the stream's.
    pub(crate) async fn long_message(&mut self, stream: u32, message: &impl Message) {
        let mut allowed = 65_535;
        for data in grpc(message).chunks(16_384) {
            while allowed < data.len() {
                let update = self.read_kind(WINDOW_UPDATE).await.unwrap();
                if update.stream == stream {
                    let more = u32::from_be_bytes(update.payload.try_into().unwrap());
                    allowed += more as usize;
                }
            }
            allowed -= data.len();
            self.frame(DATA, 0, stream, data).await;
        }
    }

    /// # Errors
    /// When the server has closed the connection.
    pub(crate) async fn read(&mut self) -> io::Result<Frame> {
        soon(self.read_frame()).await
    }

    /// The next frame of a kind.
    pub(crate) async fn read_kind(&mut self, kind: u8) -> io::Result<Frame> {
        loop {
            let frame = self.read().await?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }

    /// Reads until the server closes the connection; says why, if the server did.
    pub(crate) async fn read_to_the_end(&mut self) -> Option<u32> {
        let mut why = None;
        while let Ok(frame) = self.read().await {
            if frame.kind == GO_AWAY {
                why = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        why
    }

    async fn read_frame(&mut self) -> io::Result<Frame> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await?;
        Ok(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(stream),
            payload,
        })
    }
}

pub(crate) fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

pub(crate) fn grpc(message: &impl Message) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    message.encode(&mut framed).unwrap();
    framed
}

pub(crate) fn head(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

pub(crate) fn subscribe(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: node(),
        type_url: kind.type_url().to_owned(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

/// The value of a header field that was sent as it is.
pub(crate) fn field(frame: &Frame, name: &str) -> Option<String> {
    let block = &frame.payload;
    let at = block
        .windows(name.len())
        .position(|part| part == name.as_bytes())?;
    let length = usize::from(*block.get(at + name.len())?);
    let value = block.get(at + name.len() + 1..)?;
    String::from_utf8(value.get(..length)?.to_vec()).ok()
}
