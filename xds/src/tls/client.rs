//! The other end of mutual TLS: for programs that ask an xDS server as its clients do.

mod verifier;

use std::{fmt, io, net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, Error, OtherError, client::Resumption, pki_types::ServerName,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use self::verifier::ServerVerifier;
use super::{
    credentials::{Credentials, TlsError, TlsFiles},
    svid,
};
use crate::peer::Identity;

/// A client's certificate, and the server that it accepts.
///
/// TLS 1.3 with HTTP/2 only. The server is known by its SPIFFE ID and not by its address. The files
/// are read for each connection, so that a renewed certificate is used for the next one.
#[derive(Clone)]
pub struct ClientTls {
    files: TlsFiles,
    server: Identity,
}

impl ClientTls {
    /// How long a handshake may take.
    pub const HANDSHAKE: Duration = Duration::from_secs(5);

    /// The paths of the client's certificate, of its private key and of the authorities that sign the
    /// server's certificate, in PEM form; and the server's identity.
    #[must_use]
    pub fn new(
        certificate: PathBuf,
        key: PathBuf,
        server_authorities: PathBuf,
        server: Identity,
    ) -> Self {
        let files = TlsFiles {
            certificate,
            key,
            client_authorities: server_authorities,
            trust_domain: None,
        };
        Self { files, server }
    }

    /// Reads the files and uses nothing of them.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be read or is not valid.
    pub async fn check(&self) -> Result<(), TlsError> {
        self.config().await.map(|_config| ())
    }

    /// Reads the files, checks that they go together, and returns the identity in the client's
    /// certificate. Whether a server trusts it is not checked, nor whether it has expired.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be read or is not valid.
    pub async fn identity(&self) -> Result<Identity, TlsError> {
        self.check().await?;
        let chain = Credentials::read(&self.files).await?.chain;
        let leaf = chain.first().map_or(&[][..], |leaf| leaf.as_ref());
        svid::identity(leaf).map_err(|reason| TlsError::NoIdentity {
            path: self.files.certificate.clone(),
            reason,
        })
    }

    /// Authenticates both ends of `io`.
    ///
    /// # Errors
    /// [`ConnectError`]; then `io` is closed.
    pub async fn connect<I>(
        &self,
        io: I,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<I>, ConnectError>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let connector = TlsConnector::from(Arc::new(self.config().await?));
        // The verifier does not look at the server's address, and none is sent.
        let unnamed = ServerName::from(Ipv4Addr::UNSPECIFIED);
        timeout(Self::HANDSHAKE, connector.connect(unnamed, io))
            .await
            .map_err(|_| ConnectError::TimedOut)?
            .map_err(ConnectError::from_handshake)
    }

    async fn config(&self) -> Result<ClientConfig, TlsError> {
        let Credentials {
            chain,
            key,
            authorities,
            digest: _,
        } = Credentials::read(&self.files).await?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = ServerVerifier::new(authorities, algorithms, self.server.clone());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Provider)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(|source| TlsError::key(&self.files, source))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.enable_sni = false;
        // A resumed session would skip the verification of the server.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("files", &self.files)
            .field("server", &self.server)
            .finish()
    }
}

/// Why a server could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Files(#[from] TlsError),
    #[error("the server did not end its handshake within {} s", ClientTls::HANDSHAKE.as_secs())]
    TimedOut,
    /// It shows a certificate of somebody else.
    #[error("the server is not the one that is expected: {0}")]
    WrongServer(String),
    /// The server violated TLS, disconnected, or showed a certificate that nobody trusts.
    #[error("the TLS handshake failed: {0}")]
    Failed(io::Error),
}

impl ConnectError {
    fn from_handshake(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(wrong)))) = cause {
            return Self::WrongServer(wrong.to_string());
        }
        Self::Failed(error)
    }
}
