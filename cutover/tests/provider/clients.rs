//! Who is connected to a server, by the other end of the connection.

use pointsman_catalog::FenceLevel;
use pointsman_cutover::ports::Clients;

use crate::pair::{Pair, Running, provider, until};

async fn clients(server: &Running) -> Clients {
    provider().clients(&server.server()).await.unwrap()
}

#[tokio::test]
async fn a_session_is_among_the_clients_until_it_ends() {
    let pair = Pair::start(FenceLevel::Sql).await;
    let session = pair.source.connect("app", "orders").await.unwrap();
    let own = "host(inet_client_addr()) || ':' || inet_client_port()";
    let socket = session.ask(own).await.parse().unwrap();
    let found = clients(&pair.source).await;
    assert!(found.sockets.contains(&socket), "{found:?}");
    assert_eq!((found.hidden, found.own), (0, Some([127, 0, 0, 1].into())));
    drop(session);
    let gone = async || !clients(&pair.source).await.sockets.contains(&socket);
    until("the session has ended", gone).await;
}

#[tokio::test]
async fn sessions_that_the_role_may_not_see_are_counted_as_hidden() {
    let hba = "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";
    let pair = Pair::start_with(FenceLevel::Sql, "", hba).await;
    pair.source
        .execute("postgres", "CREATE ROLE blind LOGIN")
        .await;
    let _session = pair.source.connect("app", "orders").await.unwrap();
    let blind = pair.source.server_as("blind");
    let found = provider().clients(&blind).await.unwrap();
    assert!(found.hidden > 0, "{found:?}");
}
