//! Serves a folder of resources to any Envoy, and follows its changes.
//!
//! ```text
//! cargo run -p pointsman-xds --example write -- FOLDER 16000 15001      # something to serve
//! cargo run -p pointsman-xds --example standalone -- 127.0.0.1:18000 FOLDER
//! envoy -c xds/examples/bootstrap.yaml      # in another terminal
//! ```
//!
//! A resource is a file `FOLDER/TYPE/NAME.pb`: the type is the name of its message, such as
//! `Cluster` or `ClusterLoadAssignment`, and the content is the message in protobuf's binary
//! form, as `protoc --encode` or any library's "serialize" writes it. The folder is read again
//! ten times a second, and what Envoys have to learn of it is sent. Write a file elsewhere and
//! rename it into its place, so that no half of one is read. To change several at once, let
//! FOLDER be a symbolic link, replace the link, and delete what it led to some seconds later.
//!
//! What cannot be read, and what an Envoy refuses, is told on standard error, once each.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use pointsman_xds::{
    Fleet, Group, Limits, NoTelemetry, OneGroup, Resource, ResourceType, Snapshot, SnapshotCache,
    XdsServer,
};
use tokio::{net::TcpListener, time::interval};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, folder] = &arguments[..] else {
        tell("usage: standalone ADDRESS FOLDER");
        return ExitCode::from(2);
    };
    let served = match TcpListener::bind(address).await {
        Ok(listener) => serve(listener, Path::new(folder), tell).await,
        Err(error) => Err(format!("cannot listen at {address}: {error}")),
    };
    if let Err(error) = served {
        tell(&error);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A closed standard output does not stop the server.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Serves until the listener fails. The folder must be readable when it begins; later on, what
/// was read last is served until the folder can be read again.
pub(crate) async fn serve(
    listener: TcpListener,
    folder: &Path,
    tell: impl Fn(&str),
) -> Result<(), String> {
    let cache = Arc::new(SnapshotCache::new());
    let fleet = Arc::new(Fleet::new(Arc::clone(&cache)));
    let server = XdsServer::new(
        Arc::clone(&cache),
        Arc::clone(&fleet),
        Arc::new(OneGroup(group())),
        Arc::new(NoTelemetry),
        Limits::default(),
    );
    read(folder)?;
    let following = async {
        let (mut served, mut told) = (None, String::new());
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            let message = match read(folder) {
                Ok((snapshot, message)) => {
                    if served.as_ref() != Some(&snapshot) {
                        cache.publish([(group(), snapshot.clone())].into());
                        served = Some(snapshot);
                    }
                    message
                }
                Err(error) => format!("{error}; what was read before is served"),
            };
            if message != told {
                tell(&message);
                told = message;
            }
        }
    };
    tokio::select! {
        served = server.serve(listener, CancellationToken::new()) => {
            served.map_err(|error| error.to_string())
        }
        () = following => Ok(()),
        () = tell_refusals(&fleet, &tell) => Ok(()),
    }
}

fn group() -> Group {
    Group::new("everybody")
}

/// Tells what each client refuses, and why.
async fn tell_refusals(fleet: &Fleet, tell: impl Fn(&str)) {
    let mut changes = fleet.watch();
    let mut told = BTreeMap::new();
    while changes.changed().await.is_ok() {
        for node in fleet.status().into_iter().map(|node| node.id) {
            let record = fleet.record(&node);
            for nack in record.into_iter().flat_map(|record| record.nacks) {
                if told.get(&node).is_some_and(|last| *last >= nack.at) {
                    continue;
                }
                let (kind, names) = (nack.kind, nack.resources.join(", "));
                tell(&format!(
                    "{node} refuses {kind} {names}: {}",
                    nack.message.trim_end()
                ));
                told.insert(node.clone(), nack.at);
            }
        }
    }
}

/// What the folder holds, and what is to be told of that.
fn read(folder: &Path) -> Result<(Snapshot, String), String> {
    // The link that the folder may be is followed once: what is read is of one state.
    let state = folder
        .canonicalize()
        .map_err(|error| about(folder, error))?;
    let mut snapshot = Snapshot::builder();
    let mut count = 0;
    let mut strange = String::new();
    for folder in entries(&state)? {
        let known = |kind: &ResourceType| folder.ends_with(kind.to_string());
        let Some(kind) = ResourceType::ALL.into_iter().find(known) else {
            if folder.is_dir() {
                strange += &format!("; {} is ignored, no type has this name", folder.display());
            }
            continue;
        };
        for file in entries(&folder)? {
            if file.extension().is_some_and(|extension| extension == "pb")
                && let Some(name) = file.file_stem().and_then(OsStr::to_str)
            {
                let body = fs::read(&file).map_err(|error| about(&file, error))?;
                snapshot = snapshot.insert(Resource::new(kind, name, body.into()));
                count += 1;
            }
        }
    }
    let snapshot = snapshot.build().map_err(|error| error.to_string())?;
    Ok((snapshot, format!("resources served: {count}{strange}")))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| about(folder, error))
}

fn about(path: &Path, error: io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}
