//! A client that nobody here wrote: gRPC's own, as gRPC for Python carries it, finds a service
//! through the server and follows it. Skipped, and counted as skipped, where gRPC cannot be
//! had.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "foreign/client.rs"]
mod client;
#[path = "envoy/control_plane.rs"]
#[expect(dead_code, reason = "made for Envoy's tests, too")]
mod control_plane;
#[path = "foreign/resources.rs"]
mod resources;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use pointsman_lab::ports::free_port;
use pointsman_xds::{Outcome, ResourceType};
use tokio::runtime::Runtime;

use crate::{client::Client, control_plane::ControlPlane, resources::service};

const NAME: &str = "a_grpc_client_finds_a_service_and_follows_it";

/// The built-in harness cannot skip a test that has begun; this one says what that would say.
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let listed = arguments.iter().any(|argument| argument == "--list");
    let mut filters = arguments.iter().filter(|word| !word.starts_with('-'));
    let wanted = filters.clone().next().is_none() || filters.any(|filter| NAME.contains(&**filter));
    if listed {
        say(&format!("{NAME}: test"));
        return ExitCode::SUCCESS;
    }
    let (passed, skipped) = match wanted.then(python) {
        None => (0, 0),
        Some(None) => {
            say(&format!(
                "test {NAME} ... ignored, gRPC for Python cannot be had"
            ));
            (0, 1)
        }
        Some(Some(python)) => {
            // A failure is a panic, and ends the process.
            let test = a_grpc_client_finds_a_service_and_follows_it(&python);
            Runtime::new().unwrap().block_on(test);
            say(&format!("test {NAME} ... ok"));
            (1, 0)
        }
    };
    let filtered = u8::from(!wanted);
    say(&format!(
        "\ntest result: ok. {passed} passed; 0 failed; {skipped} ignored; 0 measured; \
         {filtered} filtered out\n"
    ));
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "as the built-in harness does")]
fn say(line: &str) {
    println!("{line}");
}

/// A Python that has gRPC; what keeps it from being there, the script says.
fn python() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/setup/grpc.sh");
    let mut command = Command::new(script);
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    let found = output.status.success();
    found.then(|| PathBuf::from(path.trim_end()))
}

async fn a_grpc_client_finds_a_service_and_follows_it(python: &Path) {
    let server = ControlPlane::expecting(["grpc"], free_port()).await;
    let port = server.port;
    let mut client = Client::start(python, port);
    let [a, b] = client.backends;
    server.publish(service(a));
    assert_eq!(client.call().await, "a");

    server.flip(service(b)).await;
    client.reaches("b").await;

    // It does not use a refused resource, and says so.
    let sequence = server.publish(service(70_000));
    let convergence = server.converge(sequence).await;
    let Outcome::Nacked { kind, message, .. } = &convergence.nodes[0].1 else {
        panic!("{convergence:?}");
    };
    assert_eq!(*kind, ResourceType::Endpoints);
    assert!(message.contains("port"), "{message}");
    assert_eq!(client.call().await, "b");
    server.flip(service(a)).await;
    client.reaches("a").await;

    // Without a server it goes on, and another one takes over.
    server.stop().await;
    assert_eq!(client.call().await, "a");
    let server = ControlPlane::expecting(["grpc"], port).await;
    server.publish(service(b));
    client.reaches("b").await;
    server.stands(|node| node.synced).await;
}
