//! Who stands between a sidecar and a server, or is a sidecar by name alone.

use std::sync::{Arc, Mutex, PoisonError};

use pointsman_catalog::{PasswordSource, Server};
use pointsman_cutover::ports::DatabaseProvider as _;
use pointsman_lab::ports::Port;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::tls_server::{NAME, PASSWORD, TlsServer};

/// What a probe of `server` would tell: its role, its password, what it says and to which database.
const TOLD: [&str; 5] = [PASSWORD, "scram\0", "plain", "INSERT", "postgres\0"];

/// Relays to a server, or plays one without TLS, and keeps every byte.
struct Listener {
    port: Port,
    heard: Arc<Mutex<Vec<u8>>>,
    _relaying: JoinSet<()>,
}

impl Listener {
    /// Before `server`; without one it says that it has no TLS and asks for a password.
    async fn start(server: Option<&TlsServer>) -> Self {
        let port = Port::reserve().unwrap();
        let listener = TcpListener::bind(port.on_loopback()).await.unwrap();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let (kept, server) = (Arc::clone(&heard), server.map(|s| s.postgres.address()));
        let mut relaying = JoinSet::new();
        relaying.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                match server {
                    Some(server) => {
                        let server = TcpStream::connect(server).await.unwrap();
                        let (from_server, to_server) = server.into_split();
                        tokio::join!(
                            keep(from_client, to_server, &kept),
                            keep(from_server, to_client, &kept)
                        );
                    }
                    None => lure(from_client, to_client, &kept).await,
                }
            }
        });
        Self {
            port,
            heard,
            _relaying: relaying,
        }
    }

    /// Which of [`TOLD`] it has heard so far, and how many bytes.
    fn heard(&self) -> (Vec<&'static str>, usize) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let told = TOLD.into_iter().filter(|told| {
            let mut windows = heard.windows(told.len());
            windows.any(|window| window == told.as_bytes())
        });
        (told.collect(), heard.len())
    }

    /// Writes a probe row to `server` through it, as the control plane does through a sidecar.
    async fn probed(&self, server: &TlsServer, declared: &Server) -> Result<(), String> {
        let provider = server.provider();
        let through = self.port.on_loopback();
        let written = provider
            .probes()
            .write_row(declared, "postgres", through, 7);
        written.await.map_err(|error| error.to_string())
    }
}

async fn keep(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    kept: &Mutex<Vec<u8>>,
) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(&chunk[..count]);
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
    // The other side may have gone before.
    let _ = to.shutdown().await;
}

/// `N` to a request for TLS; then `AuthenticationCleartextPassword`, whatever is said.
async fn lure(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    kept: &Mutex<Vec<u8>>,
) {
    let mut chunk = vec![0; 1024];
    for answer in [&b"N"[..], &[b'R', 0, 0, 0, 8, 0, 0, 0, 3], b""] {
        let Ok(count @ 1..) = from.read(&mut chunk).await else {
            return;
        };
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(&chunk[..count]);
        if to.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// With a probe table, and declared for a probe role that has a password.
async fn server() -> (TlsServer, Server) {
    let server = TlsServer::start().await;
    server
        .run("CREATE SCHEMA pointsman; CREATE TABLE pointsman.probe (id int PRIMARY KEY, value bigint)")
        .await;
    let file = server.private("pw", PASSWORD);
    let mut declared = server.probed_by(&format!(
        "host={NAME} hostaddr=127.0.0.1 port={{port}} user=scram sslmode=verify-full \
         sslrootcert={{dir}}/ca.pem"
    ));
    declared.probe_password = Some(PasswordSource::File(file.into()));
    (server, declared)
}

#[tokio::test]
async fn a_listener_between_learns_nothing_of_the_probe_role() {
    let (server, declared) = server().await;
    let between = Listener::start(Some(&server)).await;
    between.probed(&server, &declared).await.unwrap();
    let (told, bytes) = between.heard();
    assert!(told.is_empty() && bytes > 500, "{bytes} bytes: {told:?}");

    // The same without TLS, which a role without a password may choose, tells all but that.
    let mut plain = declared;
    let probe = plain.probe.unwrap_or_default();
    let (probe, _roots) = probe.split_once(" sslrootcert=").unwrap();
    let probe = probe.replace("verify-full", "disable");
    plain.probe = Some(probe.replace("user=scram", "user=plain"));
    plain.probe_password = None;
    between.probed(&server, &plain).await.unwrap();
    assert_eq!(between.heard().0, ["plain", "INSERT", "postgres\0"]);
}

#[tokio::test]
async fn a_rogue_sidecar_without_tls_gets_the_request_for_tls_alone() {
    let (server, declared) = server().await;
    let rogue = Listener::start(None).await;
    let refused = rogue.probed(&server, &declared).await.unwrap_err();
    assert!(refused.contains("server does not support TLS"), "{refused}");
    let request = 8;
    assert_eq!(rogue.heard(), (Vec::new(), request));
}

#[tokio::test]
async fn a_rogue_sidecar_with_a_certificate_of_its_own_relays_nothing() {
    let (server, declared) = server().await;
    // Of the same name, by another authority.
    let (elsewhere, _) = self::server().await;
    let rogue = Listener::start(Some(&elsewhere)).await;
    let refused = rogue.probed(&server, &declared).await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    assert_eq!(rogue.heard().0, [""; 0]);
    for server in [&server, &elsewhere] {
        let log = server.postgres.log().unwrap();
        assert!(!log.contains("scram"), "{log}");
        let rows = server.number("SELECT count(*) FROM pointsman.probe").await;
        assert_eq!(rows, 0);
    }
}
