use std::{fmt, sync::Arc};

use pointsman_catalog::SslMode;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{
    names::{self, WrongName},
    roots::TrustedRoots,
};

/// Verifies a server's certificate as far as `sslmode` asks for it.
pub(super) struct ServerVerifier {
    mode: SslMode,
    /// What `host` says; the driver's name may be that of a sidecar's listener.
    host: String,
    roots: TrustedRoots,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    pub(super) fn new(
        mode: SslMode,
        host: String,
        roots: TrustedRoots,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        Self {
            mode,
            host,
            roots,
            provider: Arc::clone(provider),
        }
    }

    fn verify_issuer(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        // A self-signed certificate that `sslrootcert` itself holds. The library that verifies chains
        // takes no authority for a server.
        if self.roots.certificates.iter().any(|root| root == leaf) {
            return names::check_validity(leaf, now).map_err(other);
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots.anchors,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.mode >= SslMode::VerifyCa {
            self.verify_issuer(leaf, intermediates, now)?;
        }
        if self.mode >= SslMode::VerifyFull {
            names::check(leaf, &self.host).map_err(other)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl fmt::Debug for ServerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerVerifier")
            .field("mode", &self.mode)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn other(reason: WrongName) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}
