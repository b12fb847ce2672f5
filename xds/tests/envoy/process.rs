use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use tokio::process::{Child, Command};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Delta,
    StateOfTheWorld,
}

/// A running Envoy that is called `sidecar`; ends when it is dropped.
pub(crate) struct Envoy {
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Envoy {
    pub(crate) fn start(xds: u16, transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bootstrap.yaml");
        let api_type = match transport {
            Transport::Delta => "DELTA_GRPC",
            Transport::StateOfTheWorld => "GRPC",
        };
        let bootstrap = include_str!("bootstrap.yaml")
            .replace("XDS_PORT", &xds.to_string())
            .replace("API_TYPE", api_type);
        std::fs::write(&file, bootstrap).unwrap();
        let process = Command::new(binary())
            .args(["--concurrency", "1", "--drain-time-s", "0"])
            .args(["--use-dynamic-base-id", "--log-level", "error", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            _process: process,
            _folder: folder,
        }
    }
}

/// A port at which nothing listens, given out once, below the range of outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    // Other processes that look at the same time begin elsewhere.
    let start = u16::try_from(process::id() % u32::from(COUNT)).unwrap();
    (0..COUNT)
        .map(|_| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
            FIRST + (start + next) % COUNT
        })
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("some port is free")
}

/// The binary named by `POINTSMAN_ENVOY`, or else the one that `tests/setup/envoy.sh` has
/// installed; that script leaves its path in a file.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("POINTSMAN_ENVOY") {
        return path.into();
    }
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab/envoy");
    let entries = std::fs::read_dir(&lab).ok().into_iter().flatten().flatten();
    let stamp = entries.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"pointsman-envoy-")
    });
    let binary = stamp
        .and_then(|stamp| std::fs::read_to_string(stamp).ok())
        .expect("Envoy: run tests/setup/envoy.sh, or name a binary in POINTSMAN_ENVOY");
    binary.trim_end().into()
}
