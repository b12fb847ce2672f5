use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::svid::{self, SvidError};
use crate::peer::TrustDomain;

/// Accepts certificates that are signed by an authority and that contain an identity of the trust
/// domain.
pub(super) struct SvidVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    trust_domain: Option<TrustDomain>,
}

impl SvidVerifier {
    pub(super) fn new(
        authorities: RootCertStore,
        trust_domain: Option<TrustDomain>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let chain = WebPkiClientVerifier::builder_with_provider(
            Arc::new(authorities),
            Arc::clone(provider),
        )
        // A client without a certificate is not told which authorities are trusted.
        .clear_root_hint_subjects()
        .build()?;
        Ok(Self {
            chain,
            trust_domain,
        })
    }

    fn identify(&self, leaf: &CertificateDer<'_>) -> Result<(), SvidError> {
        let identity = svid::identity(leaf)?;
        match &self.trust_domain {
            Some(ours) if ours.as_str() != identity.trust_domain() => Err(SvidError::Foreign),
            Some(_) | None => Ok(()),
        }
    }
}

impl ClientCertVerifier for SvidVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        self.identify(leaf).map_err(|error| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        })?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl fmt::Debug for SvidVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SvidVerifier")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}
