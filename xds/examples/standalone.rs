//! Serves a folder of resources to any Envoy, and follows its changes.
//!
//! ```text
//! cargo run -p pointsman-xds --example standalone -- 127.0.0.1:18000 FOLDER
//! ```
//!
//! A resource is a file `FOLDER/TYPE/NAME.pb`: the type is the name of its message, such as
//! `Cluster` or `ClusterLoadAssignment`, and the content is the message in protobuf's binary
//! form, as `protoc --encode` or any library's "serialize" writes it. The folder is read again
//! ten times a second, and what Envoys have to learn of it is sent. Write a file elsewhere and
//! rename it into its place, so that no half of one is read. To change several at once, let
//! FOLDER be a symbolic link and replace the link.

use std::{error::Error, fs, path::Path, sync::Arc, time::Duration};

use pointsman_xds::{
    Fleet, Group, Limits, NoTelemetry, OneGroup, Resource, ResourceType, Snapshot, SnapshotCache,
    XdsServer,
};
use tokio::{net::TcpListener, time::interval};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, folder] = &arguments[..] else {
        return Err("usage: standalone ADDRESS FOLDER".into());
    };
    serve(TcpListener::bind(address).await?, Path::new(folder)).await
}

/// Serves until the listener fails. The folder must be readable when it begins; later on, what
/// was read last is served until the folder can be read again.
pub(crate) async fn serve(listener: TcpListener, folder: &Path) -> Result<(), Box<dyn Error>> {
    let cache = Arc::new(SnapshotCache::new());
    let server = XdsServer::new(
        Arc::clone(&cache),
        Arc::new(Fleet::new(Arc::clone(&cache))),
        Arc::new(OneGroup(group())),
        Arc::new(NoTelemetry),
        Limits::default(),
    );
    let publish = |snapshot: &Snapshot| cache.publish([(group(), snapshot.clone())].into());
    let mut served = read(folder)?;
    publish(&served);
    let following = async {
        let mut looks = interval(Duration::from_millis(100));
        loop {
            looks.tick().await;
            if let Ok(snapshot) = read(folder)
                && snapshot != served
            {
                publish(&snapshot);
                served = snapshot;
            }
        }
    };
    tokio::select! {
        served = server.serve(listener, CancellationToken::new()) => Ok(served?),
        () = following => Ok(()),
    }
}

fn group() -> Group {
    Group::new("everybody")
}

fn read(folder: &Path) -> Result<Snapshot, Box<dyn Error>> {
    // The link that the folder may be is followed once: what is read is of one state.
    let folder = folder.canonicalize()?;
    let mut snapshot = Snapshot::builder();
    for kind in ResourceType::ALL {
        let folder = folder.join(kind.to_string());
        if !folder.exists() {
            continue;
        }
        for file in fs::read_dir(folder)? {
            let file = file?.path();
            if let (Some("pb"), Some(name)) = (
                file.extension().and_then(|extension| extension.to_str()),
                file.file_stem().and_then(|name| name.to_str()),
            ) {
                snapshot = snapshot.insert(Resource::new(kind, name, fs::read(&file)?.into()));
            }
        }
    }
    Ok(snapshot.build()?)
}
