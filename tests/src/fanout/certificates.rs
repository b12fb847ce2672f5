//! What a server and its clients need for mutual TLS: one authority, made for one run.

use std::path::Path;
use std::sync::Arc;

use pointsman_lab::authority::{Authority, Claims};
use pointsman_xds::{ServerTls, TlsFiles};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// Makes all of it in `folder`.
///
/// # Errors
/// A file cannot be written.
pub(super) fn make(folder: &Path) -> anyhow::Result<()> {
    let authority = Authority::new("bench")?;
    for name in [SERVER, CLIENT] {
        authority.issue(folder, name, Claims::of("/bench"))?;
    }
    authority.write(folder.join(AUTHORITY))?;
    Ok(())
}

/// The server's part of `folder`.
///
/// # Errors
/// A file is missing or makes no sense.
pub(super) async fn server(folder: &Path) -> anyhow::Result<ServerTls> {
    let files = TlsFiles {
        certificate: folder.join(SERVER).with_extension("pem"),
        key: folder.join(SERVER).with_extension("key"),
        client_authorities: folder.join(AUTHORITY),
        trust_domain: None,
    };
    Ok(ServerTls::load(files).await?)
}

/// The clients' part of `folder`; every client shows the same certificate and makes a whole
/// handshake.
///
/// # Errors
/// A file is missing or makes no sense.
pub(super) fn client(folder: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join(AUTHORITY))?)?;
    let path = folder.join(CLIENT);
    let chain = vec![CertificateDer::from_pem_file(path.with_extension("pem"))?];
    let key = PrivateKeyDer::from_pem_file(path.with_extension("key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What the server is called.
pub(super) const HOST: &str = "127.0.0.1";
const SERVER: &str = "server";
const CLIENT: &str = "client";
const AUTHORITY: &str = "authority.pem";
