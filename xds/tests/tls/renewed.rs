//! Files that change while connections are open.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    APP, TlsSetup,
    authority::{Authority, write},
};

#[tokio::test]
async fn the_identity_of_a_client_is_known() {
    let setup = TlsSetup::open().await;
    let (server, _client) = setup.connect(Some(&setup.clients.client(APP))).await;
    let server = server.unwrap();
    let identity = server.peer().identity.as_ref().unwrap();
    assert_eq!(identity.as_str(), APP);
    assert_eq!(server.peer().address, crate::address());
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_clients_and_old_connections_stay() {
    let setup = TlsSetup::open().await;
    let app = setup.clients.client(APP);
    let (server, mut client) = setup.connect(Some(&app)).await;
    let mut server = server.unwrap();
    let mut leaves = Vec::new();
    for _ in 0..50 {
        let next = setup.servers.server();
        write(setup.folder.path(), &next, &setup.clients);
        assert!(setup.tls.reload().await.unwrap());
        assert!(!setup.tls.reload().await.unwrap(), "nothing has changed");
        leaves.push(next.leaf());
    }
    let (_server, renewed) = setup.connect(Some(&app)).await;
    let shown = renewed.get_ref().1.peer_certificates().unwrap().first();
    assert_eq!(shown, leaves.last());
    client.write_all(b"still here").await.unwrap();
    client.flush().await.unwrap();
    let mut heard = [0; 10];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");
}

#[tokio::test]
async fn an_authority_that_is_taken_out_lets_nobody_in_any_more() {
    let setup = TlsSetup::open().await;
    let app = setup.clients.client(APP);
    assert!(setup.connect(Some(&app)).await.0.is_ok());
    let next = Authority::new("next");
    // Nothing else changes.
    std::fs::write(setup.folder.path().join("clients.pem"), next.pem()).unwrap();
    assert!(setup.tls.reload().await.unwrap());
    setup.refusal(Some(&app)).await;
    assert!(setup.connect(Some(&next.client(APP))).await.0.is_ok());
}

#[tokio::test]
async fn files_that_make_no_sense_leave_the_former_ones_in_use() {
    let setup = TlsSetup::open().await;
    let app = setup.clients.client(APP);
    let other = setup.servers.server();
    let folder = setup.folder.path();
    let good = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (key, bundle) = (good("server.key"), good("clients.pem"));
    for (name, broken, expected) in [
        ("server.key", other.key.as_str(), "do not go together"),
        ("server.key", "", "holds no private key"),
        ("clients.pem", "", "holds no certificate"),
        ("clients.pem", &other.key, "holds no certificate"),
    ] {
        std::fs::write(folder.join(name), broken).unwrap();
        let message = setup.tls.reload().await.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(message.contains(name), "{message}");
        assert!(setup.connect(Some(&app)).await.0.is_ok(), "{message}");
        std::fs::write(folder.join("server.key"), &key).unwrap();
        std::fs::write(folder.join("clients.pem"), &bundle).unwrap();
    }
    std::fs::remove_file(folder.join("server.pem")).unwrap();
    let message = setup.tls.reload().await.unwrap_err().to_string();
    assert!(message.contains("server.pem cannot be read"), "{message}");
    assert!(setup.connect(Some(&app)).await.0.is_ok());
}

#[tokio::test]
async fn neither_a_server_nor_its_errors_print_what_the_files_hold() {
    let setup = TlsSetup::open().await;
    let key = std::fs::read_to_string(setup.folder.path().join("server.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    std::fs::write(setup.folder.path().join("clients.pem"), &key).unwrap();
    let error = setup.tls.reload().await.unwrap_err();
    for text in [format!("{:?}", setup.tls), format!("{error:?} {error}")] {
        assert!(!text.contains(&secret[..16]), "{text}");
    }
}
