use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

/// The other end of a connection, as the transport proves it. A client's own claims are in
/// [`crate::NodeDescription`].
#[derive(Clone, Debug)]
pub struct Peer {
    /// [`Peer::LOCAL`] for a client on a Unix socket.
    pub address: SocketAddr,
    /// The identity in the client's certificate; `None` on a connection without TLS.
    pub identity: Option<Identity>,
}

impl Peer {
    /// The unspecified address: a client on a Unix socket has none.
    pub const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
}

/// A SPIFFE ID, `spiffe://trust-domain/path`.
/// <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The maximal length of the whole URI in bytes; section 2.3 of the standard.
    pub const MAX_LENGTH: usize = 2048;

    /// Parses a SPIFFE ID. An id without a path names the trust domain itself, never a workload.
    ///
    /// # Errors
    /// [`IdentityError`] names the first rule of the standard that the text breaks.
    pub fn new(text: &str) -> Result<Self, IdentityError> {
        if text.len() > Self::MAX_LENGTH {
            return Err(IdentityError::Long);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(IdentityError::Scheme)?;
        let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        domain.parse::<TrustDomain>()?;
        let mut segments = path.split('/').skip(1);
        if segments.any(|segment| !is_segment(segment)) {
            return Err(IdentityError::Path);
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `example.org` of `spiffe://example.org/app`.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    /// `/app` of `spiffe://example.org/app`; may be empty.
    #[must_use]
    pub fn path(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        let rest = &self.0[SCHEME.len()..];
        rest.split_at(rest.find('/').unwrap_or(rest.len()))
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a SPIFFE trust domain, for example `example.org`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The maximal length in bytes; section 2.3 of the standard.
    pub const MAX_LENGTH: usize = 255;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdentityError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        };
        if name.is_empty() || name.len() > Self::MAX_LENGTH || !name.bytes().all(allowed) {
            return Err(IdentityError::TrustDomain);
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a SPIFFE ID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentityError {
    #[error("it does not begin with spiffe://")]
    Scheme,
    #[error(
        "its trust domain is not 1 to {} of the characters a-z, 0-9, dot, dash and underscore",
        TrustDomain::MAX_LENGTH
    )]
    TrustDomain,
    #[error(
        "a segment of its path is empty, a dot, two dots, or has another character than A-Z, \
         a-z, 0-9, dot, dash and underscore"
    )]
    Path,
    #[error("it has more than {} bytes", Identity::MAX_LENGTH)]
    Long,
}

fn is_segment(segment: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

const SCHEME: &str = "spiffe://";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_a_trust_domain_and_a_path() {
        let identity = Identity::new("spiffe://example.org/shop/app-1").unwrap();
        assert_eq!(identity.trust_domain(), "example.org");
        assert_eq!(identity.path(), "/shop/app-1");
        assert_eq!(Identity::new("spiffe://example.org").unwrap().path(), "");
    }

    #[test]
    fn what_the_standard_forbids_is_no_identity() {
        for (text, error) in [
            ("https://example.org/app", IdentityError::Scheme),
            ("SPIFFE://example.org/app", IdentityError::Scheme),
            ("spiffe:///app", IdentityError::TrustDomain),
            ("spiffe://Example.org/app", IdentityError::TrustDomain),
            ("spiffe://example.org:443/app", IdentityError::TrustDomain),
            ("spiffe://user@example.org/app", IdentityError::TrustDomain),
            ("spiffe://example.org?x=1", IdentityError::TrustDomain),
            ("spiffe://example.org/", IdentityError::Path),
            ("spiffe://example.org/app/", IdentityError::Path),
            ("spiffe://example.org//app", IdentityError::Path),
            ("spiffe://example.org/a/../b", IdentityError::Path),
            ("spiffe://example.org/a/./b", IdentityError::Path),
            ("spiffe://example.org/a%2fb", IdentityError::Path),
            ("spiffe://example.org/a#b", IdentityError::Path),
        ] {
            assert_eq!(Identity::new(text), Err(error), "{text}");
        }
        let long = format!("spiffe://example.org/{}", "a".repeat(2048));
        assert_eq!(Identity::new(&long), Err(IdentityError::Long));
    }
}
