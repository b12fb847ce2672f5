//! The identity in a certificate.
//! <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md>

use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{BasicConstraints, KeyUsage, SubjectAltName, name::GeneralName},
};

use crate::peer::{Identity, IdentityError};

/// The identity in the leaf certificate `der`. The signature is not checked here.
pub(super) fn identity(der: &[u8]) -> Result<Identity, SvidError> {
    let certificate = Certificate::from_der(der).map_err(|_unsaid| SvidError::Unreadable)?;
    let certificate = certificate.tbs_certificate();
    if let Some((_, constraints)) = extension::<BasicConstraints>(certificate)?
        && constraints.ca
    {
        return Err(SvidError::Authority);
    }
    if let Some((_, usage)) = extension::<KeyUsage>(certificate)?
        && (usage.key_cert_sign() || usage.crl_sign())
    {
        return Err(SvidError::Authority);
    }
    let (_, names) = extension::<SubjectAltName>(certificate)?.ok_or(SvidError::Uris(0))?;
    let uris: Vec<_> = names
        .0
        .iter()
        .filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
            GeneralName::OtherName(_)
            | GeneralName::Rfc822Name(_)
            | GeneralName::DnsName(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EdiPartyName(_)
            | GeneralName::IpAddress(_)
            | GeneralName::RegisteredId(_) => None,
        })
        .collect();
    let [uri] = uris[..] else {
        return Err(SvidError::Uris(uris.len()));
    };
    let identity = Identity::new(uri).map_err(SvidError::Identity)?;
    if identity.path().is_empty() {
        return Err(SvidError::NoPath);
    }
    Ok(identity)
}

fn extension<'a, T>(
    certificate: &'a x509_cert::TbsCertificate,
) -> Result<Option<(bool, T)>, SvidError>
where
    T: x509_cert::der::Decode<'a> + x509_cert::der::oid::AssociatedOid,
{
    certificate
        .get_extension()
        .map_err(|_unsaid| SvidError::Unreadable)
}

/// Why a certificate is not a valid SVID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SvidError {
    #[error("its certificate cannot be read")]
    Unreadable,
    #[error("its certificate is an authority's, which identifies nobody")]
    Authority,
    #[error("its certificate has {0} URI names; an identity is exactly one")]
    Uris(usize),
    #[error("the URI name of its certificate is no SPIFFE ID: {0}")]
    Identity(IdentityError),
    #[error("the SPIFFE ID of its certificate names a trust domain and nobody in it")]
    NoPath,
    #[error("the SPIFFE ID of its certificate is of another trust domain")]
    Foreign,
}
