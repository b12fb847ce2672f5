use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::super::svid::{self, SvidError};
use crate::peer::Identity;

/// Accepts one server: the certificate is signed by an authority and names exactly this identity.
pub(super) struct ServerVerifier {
    authorities: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
    server: Identity,
}

impl ServerVerifier {
    pub(super) const fn new(
        authorities: RootCertStore,
        algorithms: WebPkiSupportedAlgorithms,
        server: Identity,
    ) -> Self {
        Self {
            authorities,
            algorithms,
            server,
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.authorities,
            intermediates,
            now,
            algorithms,
        )?;
        let shown = svid::identity(leaf).map_err(WrongServer::from);
        let right = shown.and_then(|shown| match shown == self.server {
            true => Ok(()),
            false => Err(WrongServer::Another {
                shown,
                expected: self.server.clone(),
            }),
        });
        right.map_err(|wrong| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong))))
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Why a certificate that an authority has signed is not the server's.
#[derive(Debug, thiserror::Error)]
enum WrongServer {
    #[error(transparent)]
    Svid(#[from] SvidError),
    #[error("it is {shown}, and {expected} is expected")]
    Another { shown: Identity, expected: Identity },
}
