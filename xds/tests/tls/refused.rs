//! Clients that do not prove who they are.

use std::sync::Arc;

use pointsman_xds::{HandshakeError, ServerTls};
use rcgen::{BasicConstraints, IsCa, KeyUsagePurpose};
use rustls::HandshakeKind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    time::timeout,
};

use crate::{
    APP, TlsSetup, address,
    authority::{Authority, client, expired},
};

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let setup = TlsSetup::open().await;
    let message = setup
        .refusal(Some(&setup.clients.sign(&expired(&[APP]))))
        .await;
    assert!(message.contains("expired"), "{message}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let setup = TlsSetup::open().await;
    for stranger in [&Authority::new("clients"), &setup.servers] {
        let message = setup.refusal(Some(&stranger.client(APP))).await;
        assert!(
            message.contains("nobody that this server trusts"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let setup = TlsSetup::open().await;
    let message = setup.refusal(None).await;
    assert!(message.contains("no certificate"), "{message}");
}

#[tokio::test]
async fn an_identity_of_another_trust_domain_is_refused() {
    let setup = TlsSetup::open().await;
    let foreign = setup.clients.client("spiffe://example.com/app");
    let message = setup.refusal(Some(&foreign)).await;
    assert!(message.contains("another trust domain"), "{message}");
}

#[tokio::test]
async fn a_certificate_that_names_none_or_two_is_refused() {
    let setup = TlsSetup::open().await;
    for (uris, expected) in [
        (&[][..], "0 URI names"),
        (&[APP, "spiffe://example.org/other"], "2 URI names"),
        (&[APP, "https://example.org/app"], "2 URI names"),
        (&["https://example.org/app"], "no SPIFFE ID"),
        (&["spiffe://example.org/a/../b"], "no SPIFFE ID"),
        (&["spiffe://example.org"], "nobody in it"),
    ] {
        let message = setup
            .refusal(Some(&setup.clients.sign(&client(uris))))
            .await;
        assert!(message.contains(expected), "{uris:?}: {message}");
    }
}

#[tokio::test]
async fn an_authority_is_nobody() {
    let setup = TlsSetup::open().await;
    let mut authority = client(&[APP]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    setup.refusal(Some(&setup.clients.sign(&authority))).await;
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let mut signing = client(&[APP]);
        signing.key_usages.push(usage);
        let message = setup.refusal(Some(&setup.clients.sign(&signing))).await;
        assert!(message.contains("an authority's"), "{message}");
    }
}

/// A resumed session would let in a client whose certificate is no longer good.
#[tokio::test]
async fn a_reconnecting_client_is_authenticated_again() {
    let setup = TlsSetup::open().await;
    let app = setup.trusting(Some(&setup.clients.client(APP)));
    for _ in 0..3 {
        let (server, mut client) = setup.connect_as(Arc::clone(&app)).await;
        // The server sends session tickets before this.
        let mut server = server.unwrap();
        server.write_u8(1).await.unwrap();
        server.flush().await.unwrap();
        client.read_u8().await.unwrap();
        let handshake = client.get_ref().1.handshake_kind();
        assert_eq!(handshake, Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let setup = TlsSetup::open().await;
    let (near, _far) = duplex(1024);
    let accepted = timeout(2 * ServerTls::HANDSHAKE, setup.tls.accept(near, address())).await;
    let error = accepted.expect("it is waited for").unwrap_err();
    assert!(matches!(error, HandshakeError::TimedOut), "{error}");
}
