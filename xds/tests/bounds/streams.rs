use std::sync::Arc;

use pointsman_xds::{NoTelemetry, ResourceType};
use tokio::{
    runtime::Handle,
    task::{JoinSet, yield_now},
};

use crate::{
    ALONE,
    control_plane::{TestControlPlane, soon},
    resident,
    wire::{DATA, DELTA, END_STREAM, HEADERS, WINDOW_UPDATE, Wire, framed, grpc, head, subscribe},
};

/// Opens `count` streams one after the other, some at a time, each to its first response.
async fn come_and_go(server: &TestControlPlane, node: u32, count: u32) {
    let mut wire = Wire::greet(server).await;
    let wide = (1_u32 << 30).to_be_bytes();
    wire.frame(WINDOW_UPDATE, 0, 0, &wide).await;
    let mut request = subscribe(ResourceType::Endpoints, &["writer"]);
    request.node.as_mut().unwrap().id = format!("sidecar-{node}");
    let request = grpc(&request);
    let streams: Vec<u32> = (0..count).map(|number| 2 * number + 1).collect();
    for batch in streams.chunks(50) {
        let mut bytes = Vec::new();
        for stream in batch {
            bytes.extend(framed(HEADERS, 4, *stream, &head(DELTA)));
            bytes.extend(framed(DATA, 0, *stream, &request));
        }
        wire.send(&bytes).await;
        bytes.clear();
        for _ in batch {
            let response = wire.read_kind(DATA).await.unwrap();
            bytes.extend(framed(DATA, END_STREAM, response.stream, &[]));
        }
        wire.send(&bytes).await;
        for _ in batch {
            while wire.read_kind(HEADERS).await.unwrap().flags & END_STREAM == 0 {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t28_streams_that_come_and_go_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let server = Arc::new(TestControlPlane::open(Arc::new(NoTelemetry)).await);
    server.publish_writer(0);
    let rounds = async |connections: u32, streams: u32| {
        let mut clients = JoinSet::new();
        for node in 0..connections {
            let server = Arc::clone(&server);
            clients.spawn(async move { come_and_go(&server, node, streams).await });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    };
    rounds(20, 500).await;
    let (memory, tasks) = (resident(), alive());
    rounds(20, 5_000).await;
    let mut changes = server.fleet.watch();
    let gone = changes.wait_for(|_| server.fleet.status().iter().all(|node| node.streams == 0));
    soon(gone).await.unwrap();
    let grown = resident().saturating_sub(memory);
    assert!(
        grown < 8 << 20,
        "{grown} bytes for 100,000 streams that are closed"
    );
    while alive() > tasks {
        yield_now().await;
    }
}

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}
