//! How long a flip takes until a hundred real Envoys have acknowledged it, over each form of
//! the protocol. Writes `target/bench/envoys.json`; times are in milliseconds, from before the
//! publish to the end of the barrier. Server and Envoys share the machine.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers are those of the tests, and fail by panicking"
)]

#[path = "../tests/envoy/control_plane.rs"]
#[expect(dead_code, reason = "made for the tests, too")]
mod control_plane;
#[path = "../tests/envoy/process.rs"]
#[expect(dead_code, reason = "made for the tests, too")]
mod process;
#[path = "../examples/flip/resources.rs"]
#[expect(dead_code, reason = "made for the tests, too")]
mod resources;

use std::{fs, path::Path, time::Duration};

use pointsman_lab::ports::free_port;
use pointsman_xds::Resource;
use tokio::time::Instant;

use crate::{
    control_plane::ControlPlane,
    process::{Envoy, Transport},
    resources::{cluster, endpoints, runtime},
};

const ENVOYS: usize = 100;
const FLIPS: u32 = 60;
/// The first flips find cold caches.
const WARM_UP: u32 = 5;
/// A hundred processes on a few cores take their time to begin.
const BEGINNING: Duration = Duration::from_secs(120);

/// No listener: a hundred Envoys on one machine cannot have the same one.
fn resources(port: u32) -> Vec<Resource> {
    vec![
        cluster("db", Duration::from_secs(1)),
        endpoints("db", port),
        runtime("layer"),
    ]
}

/// The times of the flips, in ascending order.
async fn flips(transport: Transport) -> Vec<Duration> {
    let names: Vec<_> = (0..ENVOYS)
        .map(|number| format!("sidecar-{number}"))
        .collect();
    let nodes = names.iter().map(String::as_str);
    let server = ControlPlane::expecting(nodes, free_port()).await;
    let first = server.publish(resources(1));
    let mut envoys = Vec::new();
    for name in &names {
        envoys.push(Envoy::named(name, server.port, transport).await);
    }
    let all = server.converge_within(first, BEGINNING).await;
    assert!(all.reached, "{all:?}");
    let mut times = Vec::new();
    for flip in 0..WARM_UP + FLIPS {
        let began = Instant::now();
        server.flip(resources(2 + flip)).await;
        if flip >= WARM_UP {
            times.push(began.elapsed());
        }
    }
    times.sort_unstable();
    times
}

fn result(times: &[Duration]) -> String {
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a short list"
        )]
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        times[index].as_secs_f64() * 1e3
    };
    let (min, median, p95, max) = (at(0.0), at(0.5), at(0.95), at(1.0));
    format!(
        r#"{{"min_ms": {min:.2}, "median_ms": {median:.2}, "p95_ms": {p95:.2}, "max_ms": {max:.2}}}"#
    )
}

#[tokio::main]
async fn main() {
    let delta = result(&flips(Transport::Delta).await);
    let sotw = result(&flips(Transport::StateOfTheWorld).await);
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let json = format!(
        "{{\n  \"envoys\": {ENVOYS},\n  \"flips\": {FLIPS},\n  \"profile\": \"{profile}\",\n  \
         \"delta\": {delta},\n  \"state_of_the_world\": {sotw}\n}}\n"
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("envoys.json"), &json).unwrap();
    show(&json);
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its result")]
fn show(json: &str) {
    println!("{json}");
}
