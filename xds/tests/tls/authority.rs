//! Certificates made for a test.

use std::{path::Path, sync::Arc};

use pointsman_xds::{TlsFiles, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// A certificate authority that exists for one test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Issued {
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        der(&self.certificate)
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn sign(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that is called `identity`.
    pub(crate) fn client(&self, identity: &str) -> Issued {
        self.sign(&client(&[identity]))
    }

    /// One for `localhost` and 127.0.0.1.
    pub(crate) fn server(&self) -> Issued {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        self.sign(&CertificateParams::new(names).unwrap())
    }
}

/// What a client's certificate says when these are its URI names.
pub(crate) fn client(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// The same, and its time is over.
pub(crate) fn expired(uris: &[&str]) -> CertificateParams {
    let mut params = client(uris);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 1, 2);
    params
}

/// Writes the files of a server that trusts the clients of `clients`.
pub(crate) fn write(folder: &Path, server: &Issued, clients: &Authority) -> TlsFiles {
    let files = TlsFiles {
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_authorities: folder.join("clients.pem"),
        trust_domain: Some("example.org".parse::<TrustDomain>().unwrap()),
    };
    std::fs::write(&files.certificate, &server.certificate).unwrap();
    std::fs::write(&files.key, &server.key).unwrap();
    std::fs::write(&files.client_authorities, clients.pem()).unwrap();
    files
}

/// A client that trusts `server`'s authority and shows `certificate`.
pub(crate) fn client_config(server: &Authority, certificate: Option<&Issued>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(der(&server.pem())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(Issued { certificate, key }) => builder
            .with_client_auth_cert(
                vec![der(certificate)],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
