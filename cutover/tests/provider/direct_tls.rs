//! TLS from the first byte, without PostgreSQL's request for it.

use std::{net::SocketAddr, sync::Arc};

use pointsman_catalog::PasswordSource;
use pointsman_lab::{
    authority::{Authority, Issued},
    scratch::Scratch,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::tls_server::{NAME, PASSWORD, TlsServer};

const VERIFIED: &str = "host=db.lab.example hostaddr=127.0.0.1 port={port} sslmode=verify-full \
     sslrootcert={dir}/ca.pem sslnegotiation=direct";

#[tokio::test]
async fn a_server_from_17_on_is_reached_by_direct_tls() {
    let server = TlsServer::start_on(17).await;
    let found = server.session(&format!("{VERIFIED} user=postgres")).await;
    assert_eq!(found.unwrap()["ssl"], true);
    let bound = format!("{VERIFIED} user=scram channel_binding=require");
    let mut declared = server.declared(&bound);
    let file = server.private("pw", PASSWORD);
    declared.control_password = Some(PasswordSource::File(file.into()));
    assert_eq!(server.session_of(&declared).await.unwrap()["role"], "scram");
}

/// Another service may have a certificate that is good for the name.
#[tokio::test]
async fn a_service_that_does_not_name_postgresqls_protocol_is_told_nothing() {
    let server = TlsServer::start().await;
    let silent = Another::start(&server.authority, &[]).await;
    let refused = reach(&server, &silent).await;
    assert!(refused.contains("(ALPN)"), "{refused}");
    let same = Another::start(&server.authority, &[b"postgresql"]).await;
    let refused = reach(&server, &same).await;
    assert!(!refused.contains("(ALPN)"), "{refused}");
}

/// Why there is no session with `another`.
async fn reach(server: &TlsServer, another: &Another) -> String {
    let port = another.address.port().to_string();
    let control = format!("{VERIFIED} user=postgres").replace("{port}", &port);
    server.session(&control).await.unwrap_err()
}

/// A service that ends each connection behind its handshake.
struct Another {
    address: SocketAddr,
    _scratch: Scratch,
    _tasks: JoinSet<()>,
}

impl Another {
    async fn start(authority: &Authority, protocols: &[&[u8]]) -> Self {
        let scratch = Scratch::new().unwrap();
        let issued = authority.issue_for_database(scratch.path(), "another", &[NAME]);
        let acceptor = acceptor(&issued.unwrap(), protocols);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // What comes of a handshake is for the client to say.
                acceptor.accept(stream).await.ok();
            }
        });
        Self {
            address,
            _scratch: scratch,
            _tasks: tasks,
        }
    }
}

fn acceptor(issued: &Issued, protocols: &[&[u8]]) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(&issued.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&issued.key).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_no_client_auth();
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}
