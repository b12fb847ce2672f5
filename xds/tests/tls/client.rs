//! The client's side: which server is taken for the right one.

use std::path::PathBuf;

use pointsman_xds::{ClientTls, ConnectError, Identity, ServerTls};
use rcgen::CertificateParams;
use tempfile::TempDir;
use tokio::io::duplex;

use crate::{
    APP, address,
    authority::{Authority, Issued, client, expired, write},
};

const SERVER: &str = "spiffe://example.org/control-plane";

struct Pair {
    servers: Authority,
    clients: Authority,
    folder: TempDir,
}

impl Pair {
    fn new() -> Self {
        Self {
            servers: Authority::new("servers"),
            clients: Authority::new("clients"),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the certificate that the client shows.
    fn shows(&self, shown: &Issued) {
        std::fs::write(self.path("own.pem"), &shown.certificate).unwrap();
        std::fs::write(self.path("own.key"), &shown.key).unwrap();
        std::fs::write(self.path("servers.pem"), self.servers.pem()).unwrap();
    }

    fn client(&self) -> ClientTls {
        ClientTls::new(
            self.path("own.pem"),
            self.path("own.key"),
            self.path("servers.pem"),
            Identity::new(SERVER).unwrap(),
        )
    }

    /// Connects to a server that shows `server`; returns whom that has seen.
    async fn connect(&self, tls: &ClientTls, server: &Issued) -> Result<String, ConnectError> {
        let files = write(self.folder.path(), server, &self.clients);
        let server = ServerTls::load(files).await.unwrap();
        let (near, far) = duplex(64 << 10);
        let (seen, connected) = tokio::join!(server.accept(near, address()), tls.connect(far));
        connected?;
        let seen = seen.unwrap().peer().identity.clone();
        Ok(seen.unwrap().to_string())
    }
}

fn named(uris: &[&str]) -> CertificateParams {
    let mut params = client(uris);
    params.extended_key_usages.clear();
    params
}

#[tokio::test]
async fn the_server_is_known_by_its_identity_and_knows_the_clients() {
    let pair = Pair::new();
    pair.shows(&pair.clients.client(APP));
    let server = pair.servers.sign(&named(&[SERVER]));
    let (tls, other) = (pair.client(), "spiffe://example.org/other");
    assert_eq!(pair.connect(&tls, &server).await.unwrap(), APP);
    // A renewed certificate is shown at the next connection.
    pair.shows(&pair.clients.client(other));
    assert_eq!(pair.connect(&tls, &server).await.unwrap(), other);
}

#[tokio::test]
async fn any_other_server_is_refused_with_the_reason() {
    let pair = Pair::new();
    pair.shows(&pair.clients.client(APP));
    let other = "spiffe://example.org/other";
    for (server, reason) in [
        (
            pair.servers.sign(&named(&[other])),
            "it is spiffe://example.org/other",
        ),
        (pair.servers.sign(&named(&[SERVER, other])), "2 URI names"),
        (pair.servers.server(), "0 URI names"),
        (
            Authority::new("servers").sign(&named(&[SERVER])),
            "BadSignature",
        ),
        (pair.servers.sign(&expired(&[SERVER])), "expired"),
    ] {
        let refused = pair.connect(&pair.client(), &server).await.unwrap_err();
        let message = refused.to_string();
        assert!(
            message.to_lowercase().contains(&reason.to_lowercase()),
            "{message}"
        );
    }
}

#[tokio::test]
async fn files_that_are_none_are_named_before_anybody_is_asked() {
    let pair = Pair::new();
    let missing = pair.client().check().await.unwrap_err().to_string();
    assert!(missing.contains("own.pem cannot be read"), "{missing}");
    pair.shows(&pair.clients.client(APP));
    pair.client().check().await.unwrap();
    std::fs::write(pair.path("own.key"), "").unwrap();
    let no_key = pair.client().check().await.unwrap_err().to_string();
    assert!(no_key.contains("own.key holds no private key"), "{no_key}");
}
