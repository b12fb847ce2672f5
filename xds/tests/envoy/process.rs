//! Real Envoys, each in a process of its own.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, Command};

use crate::admin;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Delta,
    StateOfTheWorld,
}

pub(crate) const BOTH: [Transport; 2] = [Transport::Delta, Transport::StateOfTheWorld];

/// A running Envoy; ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Envoy {
    _process: Child,
    folder: tempfile::TempDir,
}

impl Envoy {
    /// One that is called `sidecar` and is configured by the server at `xds`.
    pub(crate) fn start(xds: u16, transport: Transport) -> Self {
        Self::named("sidecar", xds, transport)
    }

    pub(crate) fn named(node: &str, xds: u16, transport: Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bootstrap.yaml");
        let api_type = match transport {
            Transport::Delta => "DELTA_GRPC",
            Transport::StateOfTheWorld => "GRPC",
        };
        let admin = admin_socket(folder.path());
        let bootstrap = include_str!("bootstrap.yaml")
            .replace("NODE_ID", node)
            .replace("ADMIN_SOCKET", admin.to_str().unwrap())
            .replace("XDS_PORT", &xds.to_string())
            .replace("API_TYPE", api_type);
        std::fs::write(&file, bootstrap).unwrap();
        let process = Command::new(binary())
            .args(["--concurrency", "1", "--drain-time-s", "0"])
            .args(["--drain-strategy", "immediate", "--disable-hot-restart"])
            .args(["--log-level", "error", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            _process: process,
            folder,
        }
    }

    /// What the admin interface says at a path.
    pub(crate) async fn admin(&self, path: &str) -> io::Result<String> {
        admin::get(&admin_socket(self.folder.path()), path).await
    }

    /// The sum of the counters and gauges whose names match a regular expression.
    ///
    /// # Panics
    /// If none does, or the admin interface does not answer.
    pub(crate) async fn stats(&self, filter: &str) -> u64 {
        let text = self.admin(&format!("/stats?filter={filter}")).await;
        let text = text.unwrap();
        let values = text.lines().filter_map(|line| line.split_once(": "));
        let mut values = values.map(|(_, value)| value.parse::<u64>().unwrap());
        let first = values.next();
        first.unwrap_or_else(|| panic!("no statistic matches {filter}")) + values.sum::<u64>()
    }
}

fn admin_socket(folder: &Path) -> PathBuf {
    folder.join("admin.sock")
}

/// The binary named by `POINTSMAN_ENVOY`, or else the one that `lab/setup/envoy.sh` has
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
        .expect("Envoy: run lab/setup/envoy.sh, or name a binary in POINTSMAN_ENVOY");
    binary.trim_end().into()
}
