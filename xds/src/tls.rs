//! Mutual TLS: clients authenticate by certificates. The files can be renewed while streams are open.

mod client;
mod connection;
mod credentials;
mod failed_handshakes;
mod handshake_error;
mod incoming;
mod svid;
mod verifier;

use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

pub use self::{
    client::{ClientTls, ConnectError},
    connection::TlsConnection,
    credentials::{TlsError, TlsFiles},
    handshake_error::HandshakeError,
    incoming::TlsIncoming,
    svid::SvidError,
};
use self::{credentials::Credentials, failed_handshakes::FailedHandshakes, verifier::SvidVerifier};
use crate::peer::{Identity, Peer};

/// A server's certificate and the authorities that it trusts.
///
/// TLS 1.3 with HTTP/2 only. A client must present an [X.509-SVID] signed by one of the authorities.
/// Sessions cannot be resumed, so every connection is verified.
///
/// [X.509-SVID]: https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md
pub struct ServerTls {
    files: TlsFiles,
    /// The configuration for new connections.
    current: ArcSwap<Current>,
    failures: FailedHandshakes,
}

struct Current {
    config: Arc<ServerConfig>,
    digest: [u8; 32],
    /// The identity in the server's own certificate.
    identity: Option<Identity>,
}

impl Current {
    fn new(credentials: Credentials, files: &TlsFiles) -> Result<Self, TlsError> {
        let leaf = credentials.chain.first();
        Ok(Self {
            digest: credentials.digest,
            identity: leaf.and_then(|leaf| svid::identity(leaf).ok()),
            config: Arc::new(server_config(credentials, files)?),
        })
    }
}

impl ServerTls {
    /// How long a client may take for its handshake.
    pub const HANDSHAKE: Duration = handshake_error::HANDSHAKE;
    /// How often [`crate::XdsServer`] checks whether the files have changed.
    pub const WATCH: Duration = Duration::from_secs(2);

    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be read or is not valid.
    pub async fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let credentials = Credentials::read(&files).await?;
        Ok(Self {
            current: ArcSwap::from_pointee(Current::new(credentials, &files)?),
            files,
            failures: FailedHandshakes::default(),
        })
    }

    /// Reads the files again. Returns whether they have changed. Open connections stay as they are; new
    /// ones use the new files.
    ///
    /// # Errors
    /// [`TlsError`]; then the former files stay in use.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        let credentials = Credentials::read(&self.files).await?;
        if credentials.digest == self.current.load().digest {
            return Ok(false);
        }
        let current = Current::new(credentials, &self.files)?;
        self.current.store(Arc::new(current));
        Ok(true)
    }

    /// Checks the files every `period` and reloads them if they have changed. It never returns. Invalid
    /// files are logged once, and again when they have changed.
    pub async fn watch(&self, period: Duration) -> Infallible {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reported = None;
        loop {
            ticks.tick().await;
            match self.reload().await {
                Ok(false) => {}
                Ok(true) => {
                    reported = None;
                    info!(certificate = %self.files.certificate.display(), "TLS files reloaded");
                }
                Err(refused) => {
                    let message = refused.to_string();
                    if reported.as_ref() != Some(&message) {
                        error!("new TLS files are not used, and the former ones stay: {message}");
                        reported = Some(message);
                    }
                }
            }
        }
    }

    /// Authenticates the client at the other end of `io`. A failure is logged. The caller must limit the
    /// number of concurrent handshakes: each takes memory for up to [`ServerTls::HANDSHAKE`].
    ///
    /// # Errors
    /// [`HandshakeError`]; then `io` is closed.
    pub async fn accept<I>(
        &self,
        io: I,
        address: SocketAddr,
    ) -> Result<TlsConnection<I>, HandshakeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = self.handshake(io, address).await;
        if let Err(refused) = &accepted {
            self.failures.report(address, refused);
        }
        accepted
    }

    /// The identity in the server's own certificate; `None` if that is not an SVID.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        self.current.load().identity.clone()
    }

    /// The number of connections that failed to authenticate, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.failures.count()
    }

    async fn handshake<I>(
        &self,
        io: I,
        address: SocketAddr,
    ) -> Result<TlsConnection<I>, HandshakeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().config));
        let accepting = acceptor.accept_with(io, |connection| {
            connection.set_buffer_limit(Some(WRITE_BUFFER));
        });
        let stream = timeout(Self::HANDSHAKE, accepting)
            .await
            .map_err(|_| HandshakeError::TimedOut)??;
        let leaf = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .ok_or(HandshakeError::NoCertificate)?;
        let identity = svid::identity(leaf)?;
        Ok(TlsConnection::new(
            stream,
            Peer {
                address,
                identity: Some(identity),
            },
        ))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn server_config(credentials: Credentials, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let Credentials {
        chain,
        key,
        authorities,
        digest: _,
    } = credentials;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = SvidVerifier::new(authorities, files.trust_domain.clone(), &provider)
        .map_err(|source| TlsError::authorities(files, source))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Provider)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(chain, key)
        .map_err(|source| TlsError::key(files, source))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would skip the verification of the certificate, and each ticket takes memory.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// In bytes. The buffer of a connection whose client does not read.
const WRITE_BUFFER: usize = 16 << 10;
