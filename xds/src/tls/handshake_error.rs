use std::{io, time::Duration};

use rustls::{CertificateError, Error, OtherError};

use super::SvidError;

/// Why a TLS connection is refused.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("it did not end its handshake within {} s", HANDSHAKE.as_secs())]
    TimedOut,
    #[error("it had not ended its handshake when {others} others came after it")]
    Crowded { others: usize },
    #[error("it showed no certificate")]
    NoCertificate,
    #[error("its certificate has expired")]
    Expired,
    #[error("its certificate is not valid yet")]
    NotYetValid,
    #[error("its certificate was signed by nobody that this server trusts")]
    Untrusted,
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The client violated TLS, or disconnected.
    #[error("the handshake failed: {0}")]
    Failed(io::Error),
}

impl HandshakeError {
    /// Whether the client disconnected before it authenticated, as port probes do.
    pub(super) fn is_disconnect(&self) -> bool {
        match self {
            Self::Failed(error) => matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
            ),
            Self::TimedOut
            | Self::Crowded { .. }
            | Self::NoCertificate
            | Self::Expired
            | Self::NotYetValid
            | Self::Untrusted
            | Self::Svid(_) => false,
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(cause)) => {
                of_certificate(cause).unwrap_or(Self::Failed(error))
            }
            Some(_) | None => Self::Failed(error),
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls has dozens of such errors and adds to them; its own message is used for the rest"
)]
fn of_certificate(cause: &CertificateError) -> Option<HandshakeError> {
    match cause {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some(HandshakeError::Expired)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some(HandshakeError::NotYetValid)
        }
        // The second occurs if the issuer has the name of an authority and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Some(HandshakeError::Untrusted)
        }
        CertificateError::Other(OtherError(cause)) => {
            cause.downcast_ref().copied().map(HandshakeError::Svid)
        }
        _ => None,
    }
}

/// How long a client may take.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);
