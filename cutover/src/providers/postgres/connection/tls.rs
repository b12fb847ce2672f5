//! TLS to a server, by libpq's rules.
//! <https://www.postgresql.org/docs/current/libpq-ssl.html>

mod names;
mod roots;
mod stream;
mod verifier;

use std::{error::Error as _, io, path::Path, sync::Arc};

use pointsman_catalog::{Host, Roots, SslMode, TlsSpec, TlsVersion};
use rustls::{
    CertificateError, ClientConfig, Error, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

pub(super) use self::stream::{Encrypted, Tls};
use self::{roots::TrustedRoots, stream::PROTOCOL, verifier::ServerVerifier};
use super::sources::{Guard, SecretSources};

/// What encrypts a connection to `host`. Files are read anew for each, so one that was renewed counts
/// from the next connection on.
///
/// # Errors
/// A file cannot be read or holds nothing of its kind.
pub(super) fn connector(
    spec: &TlsSpec,
    host: &Host,
    sources: &SecretSources,
) -> Result<Tls, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = match &spec.roots {
        _ if spec.mode < SslMode::VerifyCa => TrustedRoots::none(),
        None => TrustedRoots::none(),
        Some(Roots::System) => roots::system()?,
        Some(Roots::AmazonRds) => roots::amazon_rds()?,
        Some(Roots::File(path)) => {
            let found = certificates(path, sources)?;
            TrustedRoots::new(found).map_err(|reason| format!("{}: {reason}", path.display()))?
        }
    };
    let name = host.name.clone().unwrap_or_default();
    let verifier = ServerVerifier::new(spec.mode, name, roots, &provider);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(spec))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &spec.identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate, sources)?, private(key, sources)?)
            .map_err(|error| {
                format!(
                    "sslcert {} and sslkey {} do not go together: {error}",
                    certificate.display(),
                    key.display()
                )
            })?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = spec.sni;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Tls::new(config, spec.direct))
}

/// Why a handshake failed, if that is what `error` is about.
pub(super) fn handshake_failure(error: &tokio_postgres::Error) -> Option<&Error> {
    let inner = error.source()?.downcast_ref::<io::Error>()?.get_ref()?;
    inner.downcast_ref()
}

/// The message for a failed handshake, if that is what `error` is about.
pub(super) fn handshake_message(error: &tokio_postgres::Error) -> Option<String> {
    let failure = handshake_failure(error)?;
    let reason = if let Error::InvalidCertificate(CertificateError::Other(other)) = failure {
        other.0.to_string()
    } else if *failure == Error::InvalidCertificate(CertificateError::UnknownIssuer) {
        "its certificate is signed by none of the authorities of sslrootcert=".to_owned()
    } else if *failure == Error::NoApplicationProtocol {
        "it did not agree to speak PostgreSQL's protocol (ALPN), which sslnegotiation=direct wants; \
         servers do from 17 on"
            .to_owned()
    } else {
        failure.to_string()
    };
    Some(format!("TLS failed: {reason}"))
}

fn versions(spec: &TlsSpec) -> Vec<&'static SupportedProtocolVersion> {
    [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)]
        .into_iter()
        .filter(|(version, _)| (spec.lowest..=spec.highest).contains(version))
        .map(|(_, version)| version)
        .collect()
}

fn certificates(
    path: &Path,
    sources: &SecretSources,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = sources.read_bytes(path, Guard::Anybody)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!(
            "{} holds no certificate in PEM form",
            path.display()
        )),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{} is no PEM file: {error}", path.display())),
    }
}

fn private(path: &Path, sources: &SecretSources) -> Result<PrivateKeyDer<'static>, String> {
    let text = sources.read_bytes(path, Guard::Group)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        format!(
            "{} holds no private key in PEM form; allowed: one without a passphrase",
            path.display()
        )
    })
}
