//! A control plane in one file: one TCP listener, one EDS cluster, and a flip between two
//! backends for each line on standard input. It prints when each publish has converged.
//!
//! ```text
//! cargo run -p pointsman-xds --example flip -- 18000 16000 15001 15002
//! ```
//!
//! The arguments are ports on loopback: of the control plane, of Envoy's listener, of the two
//! backends. Every client is admitted, whatever it calls itself.

mod resources;

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, Write as _},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use pointsman_xds::{
    Fleet, Group, Limits, NoTelemetry, OneGroup, Policy, Snapshot, SnapshotCache, SnapshotError,
    XdsServer,
};
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use resources::{cluster, endpoints, listener, runtime};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let ports: Vec<u16> = std::env::args()
        .skip(1)
        .map(|port| port.parse())
        .collect::<Result<_, _>>()?;
    let [xds, listen, a, b] = ports[..] else {
        return Err("usage: flip XDS_PORT LISTEN_PORT BACKEND_A BACKEND_B".into());
    };
    let cache = Arc::new(SnapshotCache::new());
    let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
    let stop = CancellationToken::new();
    let server = XdsServer::new(
        Arc::clone(&cache),
        Arc::clone(&fleet),
        Arc::new(OneGroup(group())),
        Arc::new(NoTelemetry),
        Limits::default(),
    );
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, xds)).await?;
    let serving = server.serve(listener, stop.clone());
    let flipping = async {
        let outcome = flip(&cache, &fleet, listen, [a, b]).await;
        stop.cancel();
        outcome
    };
    let (served, flipped) = tokio::join!(serving, flipping);
    served?;
    flipped
}

/// Publishes once, then once for each line.
async fn flip(
    cache: &SnapshotCache,
    fleet: &Fleet,
    listen: u16,
    backends: [u16; 2],
) -> Result<(), Box<dyn Error>> {
    let mut lines = lines();
    for backend in backends.into_iter().cycle() {
        let began = Instant::now();
        let snapshot = snapshot(listen, backend)?;
        let sequence = cache.publish(BTreeMap::from([(group(), snapshot)]));
        let deadline = Instant::now() + Duration::from_secs(5);
        // Whoever is connected is the fleet.
        fleet.set_registered(fleet.status().into_iter().map(|node| node.id));
        let convergence = fleet
            .converge(sequence, Policy::AllConnected, deadline)
            .await;
        let took = began.elapsed();
        let nodes = convergence.nodes;
        writeln!(
            std::io::stdout(),
            "publish {sequence} to backend {backend}: {took:?} {nodes:?}"
        )?;
        if lines.recv().await.is_none() {
            break;
        }
    }
    Ok(())
}

/// Standard input; the channel closes at its end.
fn lines() -> mpsc::Receiver<()> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_err() || sender.blocking_send(()).is_err() {
                break;
            }
        }
    });
    lines
}

fn snapshot(listen: u16, backend: u16) -> Result<Snapshot, SnapshotError> {
    Snapshot::builder()
        .insert(cluster("backend", Duration::from_secs(1)))
        .insert(endpoints("backend", backend.into()))
        .insert(listener("front", listen, "backend"))
        .insert(runtime("layer"))
        .build()
}

fn group() -> Group {
    Group::new("everybody")
}
