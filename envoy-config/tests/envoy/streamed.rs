use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use pointsman_catalog::UnixMillis;
use pointsman_envoy_config::Transport;
use pointsman_lab::{
    patience::{DEADLINE, until},
    ports::free_port,
};
use pointsman_xds::Resource;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{
    control_plane::ControlPlane,
    fleet::Fleet,
    sidecar::{LISTEN, NODE, Sidecar},
};

#[tokio::test]
async fn a_sidecar_acknowledges_every_route_and_does_what_it_says() {
    for transport in [Transport::Delta, Transport::StateOfTheWorld] {
        let server = Server::start().await;
        let until = UnixMillis::now().plus(Duration::from_secs(25));
        let mut fleet = Fleet::with_every_route(server.address, until, free_port);
        let control_plane = ControlPlane::expecting([NODE], free_port()).await;
        control_plane.publish(resources(&fleet));
        let _sidecar = Sidecar::start(address(&control_plane), transport).await;
        let writer = |name: &str| fleet.writer(LISTEN, name);

        assert_eq!(answer(&mut connect(writer("served")).await).await, GREETING);
        control_plane.flip(resources(&fleet)).await;
        let mut refused = connect(writer("refused")).await;
        assert_eq!(answer(&mut refused).await, b"");
        let mut held = connect(writer("held")).await;
        let early = timeout(Duration::from_millis(500), held.read_u8()).await;
        assert!(early.is_err(), "{transport:?}: {early:?}");

        fleet.serve_from_blue("held");
        control_plane.flip(resources(&fleet)).await;
        assert_eq!(answer(&mut held).await, GREETING, "{transport:?}");
    }
}

/// A hold without an end would park clients at a fenced server for as long as they wait.
#[tokio::test]
async fn a_hold_ends_in_refusing_without_a_control_plane() {
    let server = Server::start().await;
    let until = UnixMillis::now().plus(Duration::from_secs(4));
    let fleet = Fleet::with_every_route(server.address, until, free_port);
    let control_plane = ControlPlane::expecting([NODE], free_port()).await;
    control_plane.publish(resources(&fleet));
    let _sidecar = Sidecar::start(address(&control_plane), Transport::Delta).await;
    let held = fleet.writer(LISTEN, "held");
    let mut parked = connect(held).await;
    drop(control_plane);

    assert_eq!(answer(&mut parked).await, b"");
    let over = UnixMillis::now();
    assert!(
        over.plus(Duration::from_millis(100)) >= until,
        "{over} {until}"
    );
    assert_eq!(answer(&mut connect(held).await).await, b"");
    let mut served = connect(fleet.writer(LISTEN, "served")).await;
    assert_eq!(answer(&mut served).await, GREETING);
}

const GREETING: &[u8] = b"blue";

/// Connects as soon as the sidecar listens.
async fn connect(at: SocketAddr) -> TcpStream {
    until("the listener", async || TcpStream::connect(at).await.ok()).await
}

/// All that comes until the other side closes or resets: nothing if that is the first thing.
async fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset is an end like another.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    answer
}

/// Greets every connection and closes it.
struct Server {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                // A client that is gone needs no greeting.
                let _ = connection.write_all(GREETING).await;
            }
        });
        Self {
            address,
            _accepting: accepting,
        }
    }
}

fn address(control_plane: &ControlPlane) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, control_plane.port).into()
}

fn resources(fleet: &Fleet) -> Vec<Resource> {
    let rendered = fleet.render(LISTEN).into_iter();
    rendered.map(Resource::from).collect()
}
