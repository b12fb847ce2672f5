use std::{
    fmt,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::VerifierBuilderError,
};
use sha2::{Digest as _, Sha256};

use super::svid::SvidError;
use crate::peer::TrustDomain;

/// The paths of a server's TLS files, in PEM form.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, followed by the intermediate certificates.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities that sign client certificates.
    pub client_authorities: PathBuf,
    /// The trust domain of clients; with `None` any is accepted.
    pub trust_domain: Option<TrustDomain>,
}

/// The contents of the files.
pub(super) struct Credentials {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) authorities: RootCertStore,
    /// A hash of all files.
    pub(super) digest: [u8; 32],
}

impl Credentials {
    pub(super) async fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let certificate = read(&files.certificate).await?;
        let key = read(&files.key).await?;
        let bundle = read(&files.client_authorities).await?;
        let mut hash = Sha256::new();
        for file in [&certificate, &key, &bundle] {
            hash.update(file.len().to_le_bytes());
            hash.update(file);
        }
        let mut authorities = RootCertStore::empty();
        for authority in certificates(&files.client_authorities, &bundle)? {
            authorities
                .add(authority)
                .map_err(|reason| TlsError::Authority {
                    path: files.client_authorities.clone(),
                    reason,
                })?;
        }
        Ok(Self {
            chain: certificates(&files.certificate, &certificate)?,
            key: PrivateKeyDer::from_pem_slice(&key).map_err(|_unsaid| TlsError::NoKey {
                path: files.key.clone(),
            })?,
            authorities,
            digest: hash.finalize().into(),
        })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path)
        .await
        .map_err(|reason| TlsError::Unreadable {
            path: path.to_owned(),
            reason,
        })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| TlsError::NoCertificate {
            path: path.to_owned(),
        })
}

/// Why TLS files are not used. Each message is complete, so none of these errors has a source. The messages
/// contain nothing of the files' contents.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        path: PathBuf,
        reason: std::io::Error,
    },
    #[error("{} holds no certificate in PEM form", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key in PEM form", path.display())]
    NoKey { path: PathBuf },
    #[error("{} and {} do not go together: {reason}", certificate.display(), key.display())]
    Mismatch {
        certificate: PathBuf,
        key: PathBuf,
        reason: rustls::Error,
    },
    #[error("{} holds a certificate that is no authority: {reason}", path.display())]
    Authority {
        path: PathBuf,
        reason: rustls::Error,
    },
    #[error("{} cannot be used to verify clients: {reason}", path.display())]
    Verifier {
        path: PathBuf,
        reason: VerifierBuilderError,
    },
    #[error("{}: {reason}", path.display())]
    NoIdentity { path: PathBuf, reason: SvidError },
    #[error("the cryptography does not speak TLS 1.3: {0}")]
    Provider(rustls::Error),
}

impl TlsError {
    pub(super) fn key(files: &TlsFiles, reason: rustls::Error) -> Self {
        Self::Mismatch {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            reason,
        }
    }

    pub(super) fn authorities(files: &TlsFiles, reason: VerifierBuilderError) -> Self {
        Self::Verifier {
            path: files.client_authorities.clone(),
            reason,
        }
    }
}
