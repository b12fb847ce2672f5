//! A control plane in one file: one TCP listener, one EDS cluster, and a flip between two
//! backends for each line on standard input. It prints when each publish has converged.
//!
//! ```text
//! cargo run -p pointsman-xds --example flip -- 18000 16000 15001 15002
//! envoy -c xds/examples/bootstrap.yaml      # in another terminal
//! ```
//!
//! The arguments are ports on loopback: of the control plane, of Envoy's listener, of the two
//! backends. Every client is admitted. The end of standard input ends
//! it.

mod resources;

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, Write as _},
    net::Ipv4Addr,
    num::NonZeroU16,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use pointsman_xds::{
    Fleet, Group, Limits, NoTelemetry, OneGroup, Outcome, Policy, Snapshot, SnapshotCache,
    SnapshotError, XdsServer,
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use resources::{cluster, endpoints, listener, runtime};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = std::env::args().skip(1);
    let ports: Result<Vec<NonZeroU16>, _> = arguments.map(|port| port.parse()).collect();
    let Ok([xds, listen, a, b]) = ports.as_deref() else {
        tell("usage: flip XDS_PORT LISTEN_PORT BACKEND_A BACKEND_B, each from 1 to 65535");
        return ExitCode::from(2);
    };
    if let Err(error) = serve(xds.get(), listen.get(), [a.get(), b.get()]).await {
        tell(&error.to_string());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

async fn serve(xds: u16, listen: u16, backends: [u16; 2]) -> Result<(), Box<dyn Error>> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, xds)).await;
    let listener = bound.map_err(|error| format!("cannot listen at port {xds}: {error}"))?;
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
    let serving = server.serve(listener, stop.clone());
    let flipping = async {
        let outcome = flip(&cache, &fleet, listen, backends).await;
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
        let deadline = sleep(Duration::from_secs(5));
        // The connected clients are the fleet.
        fleet.set_registered(fleet.status().into_iter().map(|node| node.id));
        let convergence = fleet
            .converge(sequence, Policy::AllConnected, deadline)
            .await;
        let took = began.elapsed();
        let mut out = std::io::stdout();
        writeln!(out, "publish {sequence} to backend {backend}: {took:?}")?;
        for (node, outcome) in convergence.nodes {
            writeln!(out, "  {node} {}", said(&outcome))?;
        }
        if lines.recv().await.is_none() {
            break;
        }
    }
    Ok(())
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Synced { after } => format!("has it after {after:?}"),
        Outcome::Nacked { kind, message, .. } => format!("refuses a {kind}: {message}"),
        Outcome::Lagging => "has not answered".to_owned(),
        Outcome::Absent => "is not connected".to_owned(),
    }
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
