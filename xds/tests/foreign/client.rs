use std::{path::Path, process::Stdio};

use pointsman_lab::{
    patience::{DEADLINE, until},
    ports::free_port,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// gRPC for Python in a process of its own, with two backends.
pub(crate) struct Client {
    pub(crate) backends: [u32; 2],
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Client {
    pub(crate) fn start(python: &Path, xds: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bootstrap = folder.path().join("bootstrap.json");
        let content = include_str!("bootstrap.json");
        std::fs::write(&bootstrap, content.replace("XDS_PORT", &xds.to_string())).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/client.py");
        let backends = [free_port(), free_port()];
        let mut process = Command::new(python)
            .arg(script)
            .args(backends.map(|port| port.to_string()))
            .env("GRPC_XDS_BOOTSTRAP", bootstrap)
            .env("GRPC_VERBOSITY", "NONE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            backends: backends.map(u32::from),
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()).lines(),
            _process: process,
            _folder: folder,
        }
    }

    /// Which backend has answered a call.
    pub(crate) async fn call(&mut self) -> String {
        self.input.write_all(b"\n").await.unwrap();
        let line = timeout(DEADLINE, self.output.next_line()).await;
        line.unwrap().unwrap().expect("the client has ended")
    }

    /// Waits until this backend answers: an acknowledgement is not the use of it.
    pub(crate) async fn reaches(&mut self, backend: &str) {
        until("the backend", async || {
            (self.call().await == backend).then_some(())
        })
        .await;
    }
}
