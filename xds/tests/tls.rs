//! Who is let in over TLS, and what the server knows of them; what changes on disk.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/client.rs"]
mod client;
#[path = "envoy/control_plane.rs"]
#[expect(dead_code, reason = "made for Envoy's tests, too")]
mod control_plane;
#[path = "tls/crowds.rs"]
mod crowds;
#[path = "tls/refused.rs"]
mod refused;
#[path = "tls/renewed.rs"]
mod renewed;
#[path = "tls/served.rs"]
mod served;

use std::{net::SocketAddr, sync::Arc};

use pointsman_xds::{HandshakeError, ServerTls, TlsConnection};
use rustls::{ClientConfig, pki_types::ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::authority::{Authority, Issued};

const APP: &str = "spiffe://example.org/app";

/// A server's TLS and the authorities on both sides.
struct TlsSetup {
    tls: ServerTls,
    servers: Authority,
    clients: Authority,
    folder: TempDir,
}

impl TlsSetup {
    async fn open() -> Self {
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let folder = tempfile::tempdir().unwrap();
        let files = authority::write(folder.path(), &servers.server(), &clients);
        Self {
            tls: ServerTls::load(files).await.unwrap(),
            servers,
            clients,
            folder,
        }
    }

    fn trusting(&self, certificate: Option<&Issued>) -> Arc<ClientConfig> {
        authority::client_config(&self.servers, certificate)
    }

    /// Both ends of a connection of a client that shows `certificate`.
    async fn connect(&self, certificate: Option<&Issued>) -> Ends {
        self.connect_as(self.trusting(certificate)).await
    }

    async fn connect_as(&self, client: Arc<ClientConfig>) -> Ends {
        let (near, far) = duplex(64 << 10);
        let connector = TlsConnector::from(client);
        let name = ServerName::try_from("localhost").unwrap();
        let (server, client) = tokio::join!(
            self.tls.accept(near, address()),
            connector.connect(name, far)
        );
        (server, client.unwrap())
    }

    /// Why a client that shows `certificate` is not let in; it learns no more than that.
    async fn refusal(&self, certificate: Option<&Issued>) -> String {
        let before = self.tls.refused();
        let (server, mut client) = self.connect(certificate).await;
        let message = server.expect_err("it was let in").to_string();
        // TLS 1.3: the client is told after its side of the handshake has ended.
        client.read_u8().await.unwrap_err();
        assert_eq!(self.tls.refused(), before + 1);
        message
    }
}

type Ends = (
    Result<TlsConnection<DuplexStream>, HandshakeError>,
    TlsStream<DuplexStream>,
);

fn address() -> SocketAddr {
    "192.0.2.7:4321".parse().unwrap()
}
