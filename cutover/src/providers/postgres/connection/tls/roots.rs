//! Authorities whose signature counts.

use std::sync::LazyLock;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// A set of authorities. The certificates themselves are kept beside the anchors: a server may present
/// one of them as its own.
#[derive(Clone, Debug)]
pub(super) struct TrustedRoots {
    pub(super) anchors: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl TrustedRoots {
    /// Nobody: for sessions that verify nothing.
    pub(super) fn none() -> Self {
        Self {
            anchors: RootCertStore::empty(),
            certificates: Vec::new(),
        }
    }

    pub(super) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut anchors = RootCertStore::empty();
        for certificate in &certificates {
            anchors
                .add(certificate.clone())
                .map_err(|error| format!("a certificate in it cannot be used: {error}"))?;
        }
        Ok(Self {
            anchors,
            certificates,
        })
    }
}

/// The authorities that the operating system trusts, as they were at the first use.
pub(super) fn system() -> Result<TrustedRoots, String> {
    static SYSTEM: LazyLock<Result<TrustedRoots, String>> = LazyLock::new(|| {
        let mut anchors = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        anchors.add_parsable_certificates(found.certs);
        if anchors.is_empty() {
            let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(format!(
                "sslrootcert=system: the operating system has no authorities; install \
                 ca-certificates ({})",
                reasons.join("; ")
            ));
        }
        Ok(TrustedRoots {
            anchors,
            certificates: Vec::new(),
        })
    });
    SYSTEM.clone()
}

/// The authorities of Amazon RDS and Aurora. `amazon-rds.pem` says from where and when they are.
pub(super) fn amazon_rds() -> Result<TrustedRoots, String> {
    static BUNDLE: LazyLock<Result<TrustedRoots, String>> = LazyLock::new(|| {
        let found: Result<_, _> = CertificateDer::pem_slice_iter(AMAZON_RDS).collect();
        TrustedRoots::new(found.map_err(|error| error.to_string())?)
    });
    BUNDLE.clone()
}

const AMAZON_RDS: &[u8] = include_bytes!("amazon-rds.pem");

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use x509_cert::{Certificate, der::Decode as _};

    use super::*;

    #[test]
    fn every_authority_of_amazon_is_readable_and_none_has_expired() {
        let bundle = amazon_rds().unwrap();
        assert!(
            bundle.certificates.len() >= 70,
            "{}",
            bundle.certificates.len()
        );
        for der in &bundle.certificates {
            let certificate = Certificate::from_der(der).unwrap();
            let certificate = certificate.tbs_certificate();
            let subject = certificate.subject().to_string();
            assert!(subject.contains("Amazon RDS "), "{subject}");
            let end = certificate.validity().not_after.to_system_time();
            assert!(end > SystemTime::now(), "{subject} has expired");
        }
    }
}
