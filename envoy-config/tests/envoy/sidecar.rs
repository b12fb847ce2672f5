use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use pointsman_catalog::NodeId;
use pointsman_envoy_config::{ARGUMENTS, Bootstrap, Transport};
use tokio::process::{Child, Command};

/// Where sidecars listen for applications.
pub(crate) const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) const NODE: &str = "app-1";

/// A running Envoy; ends when it is dropped.
pub(crate) struct Sidecar {
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Sidecar {
    /// One that knows nothing but the control plane at `xds`.
    pub(crate) fn start(xds: SocketAddr, transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bootstrap.json");
        let bootstrap = Bootstrap {
            node: NodeId::new(NODE).unwrap(),
            listen: LISTEN,
            xds: xds.to_string().parse().unwrap(),
            admin: None,
            transport,
            tls: None,
            max_downstream_connections: 1000,
        };
        std::fs::write(&file, bootstrap.render()).unwrap();
        let process = Command::new(binary())
            .args(ARGUMENTS)
            .args(["--log-level", "error", "-c"])
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

/// A port at which nothing listens, given out once. Below the range of outgoing
/// connections, which could take it before it is used.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other processes that look at the same time begin elsewhere.
    let start = process::id().wrapping_mul(101);
    (0..COUNT)
        .filter_map(|_| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start);
            u16::try_from(FIRST + next % COUNT).ok()
        })
        .find(|&port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
        .unwrap()
}

/// The binary named by `POINTSMAN_ENVOY`, or else the one that `lab/setup/envoy.sh` has
/// installed; that script leaves its path in a file.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("POINTSMAN_ENVOY") {
        return path.into();
    }
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.lab/envoy");
    let installed = std::fs::read_dir(&lab).ok().into_iter().flatten().flatten();
    let mark = installed.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"pointsman-envoy-"))
    });
    let binary = mark.and_then(|mark| std::fs::read_to_string(mark).ok());
    let binary = binary.unwrap_or_else(|| {
        panic!(
            "Envoy is not installed: run lab/setup/envoy.sh, or name a binary in POINTSMAN_ENVOY"
        )
    });
    binary.trim_end().into()
}
