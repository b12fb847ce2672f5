//! Crowds that never complete a handshake: a client that does is let in beside them.

use std::{net::Ipv4Addr, sync::Arc};

use futures_util::StreamExt as _;
use pointsman_xds::TlsIncoming;
use rustls::{ClientConnection, pki_types::ServerName};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    APP, TlsSetup,
    authority::{self, Authority},
    served::{PATIENCE, Served},
};

/// Clients that say so much each, and no more.
async fn crowd(port: u16, request: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        client.write_all(request).await.unwrap();
        crowd.push(client);
    }
    crowd
}

/// What a client says first.
fn hello(servers: &Authority) -> Vec<u8> {
    let config = authority::client_config(servers, None);
    let name = ServerName::try_from("localhost").unwrap();
    let mut hello = Vec::new();
    let mut client = ClientConnection::new(config, name).unwrap();
    client.write_tls(&mut hello).unwrap();
    hello
}

async fn served_beside(request: impl FnOnce(&Authority) -> Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::open(folder.path()).await;
    let _crowd = crowd(served.control_plane.port, &request(&served.servers)).await;
    let app = served.clients.client(APP);
    assert_eq!(served.ask(Some(&app)).await.unwrap(), "writer");
    assert_eq!(served.tls.refused(), 0, "it had to wait for their end");
}

#[tokio::test]
async fn silent_clients_delay_no_other() {
    served_beside(|_| Vec::new()).await;
}

#[tokio::test]
async fn clients_that_stop_within_a_handshake_message_delay_no_other() {
    served_beside(|servers| hello(servers)[..100].to_vec()).await;
}

#[tokio::test]
async fn clients_that_stop_after_the_client_hello_delay_no_other() {
    served_beside(hello).await;
}

#[tokio::test]
async fn for_any_server_those_who_came_first_make_room() {
    let TlsSetup {
        tls,
        servers,
        clients,
        folder: _folder,
    } = TlsSetup::open().await;
    let tls = Arc::new(tls);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut incoming = TlsIncoming::new(listener, Arc::clone(&tls));
    let app = clients.client(APP);
    let connector = TlsConnector::from(authority::client_config(&servers, Some(&app)));
    let come = async {
        let crowd = crowd(port, &[]).await;
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        (crowd, connector.connect(name, socket).await.unwrap())
    };
    let both = async { tokio::join!(incoming.next(), come) };
    let (accepted, _clients) = timeout(PATIENCE, both).await.unwrap();
    let identity = accepted.unwrap().unwrap().peer().identity.clone();
    assert_eq!(identity.unwrap().as_str(), APP);
    let too_many = CROWD + 1 - TlsIncoming::HANDSHAKES;
    assert_eq!(tls.refused(), too_many as u64);
}

/// More than any server has patience with at once.
const CROWD: usize = TlsIncoming::HANDSHAKES + 50;
