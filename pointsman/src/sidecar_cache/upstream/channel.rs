//! Connections to the control plane, as the sidecar's own bootstrap makes them.

use std::{
    error::Error as _,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use pointsman_catalog::Endpoint;
use pointsman_xds::ClientTls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tonic::transport::{self, Channel};
use tower_service::Service;

/// # Errors
/// Why there is no connection, for people.
pub(super) async fn connect(xds: &Endpoint, tls: Option<&ClientTls>) -> Result<Channel, String> {
    let endpoint = transport::Endpoint::from_shared(format!("http://{xds}"))
        .map_err(|error| error.to_string())?
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true);
    let connector = Connector {
        xds: xds.clone(),
        tls: tls.cloned(),
    };
    let connecting = endpoint.connect_with_connector(connector);
    timeout(CONNECT, connecting)
        .await
        .map_err(|_| format!("no connection within {} s", CONNECT.as_secs()))?
        .map_err(|error| reason(&error))
}

/// Behind tonic's own words, which name no cause.
fn reason(error: &transport::Error) -> String {
    match error.source() {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

struct Connector {
    xds: Endpoint,
    tls: Option<ClientTls>,
}

type Io = TokioIo<Pin<Box<dyn Transport>>>;

/// With or without TLS.
trait Transport: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Transport for T {}

impl Service<Uri> for Connector {
    type Response = Io;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Io, io::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let (xds, tls) = (self.xds.clone(), self.tls.clone());
        Box::pin(async move {
            let socket = TcpStream::connect((xds.host(), xds.port())).await?;
            socket.set_nodelay(true)?;
            let transport: Pin<Box<dyn Transport>> = match tls {
                Some(tls) => Box::pin(tls.connect(socket).await.map_err(io::Error::other)?),
                None => Box::pin(socket),
            };
            Ok(TokioIo::new(transport))
        })
    }
}

/// With resolving the name and the TLS handshake.
const CONNECT: Duration = Duration::from_secs(5);
/// As in the sidecar's bootstrap.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(2);
