//! Writes a folder for the example `standalone`: a TCP listener on one port of loopback, and the
//! cluster at another port that it forwards to.
//!
//! ```text
//! cargo run -p pointsman-xds --example write -- FOLDER 16000 15001
//! ```
//!
//! Run it again with another backend while `standalone` serves the folder: its Envoys follow.

#[path = "flip/resources.rs"]
#[expect(dead_code, reason = "the other example serves a runtime layer, too")]
mod resources;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use pointsman_xds::Resource;

use resources::{cluster, endpoints, listener};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [folder, ports @ ..] = &arguments[..] else {
        return usage();
    };
    let ports: Result<Vec<u16>, _> = ports.iter().map(|port| port.parse()).collect();
    let Ok([listen, backend]) = ports.as_deref() else {
        return usage();
    };
    for resource in [
        cluster("backend", Duration::from_secs(1)),
        endpoints("backend", (*backend).into()),
        listener("front", *listen, "backend"),
    ] {
        if let Err(error) = write(Path::new(folder), &resource) {
            let _ = writeln!(io::stderr(), "cannot write into {folder}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    let _ = writeln!(io::stderr(), "usage: write FOLDER LISTEN_PORT BACKEND_PORT");
    ExitCode::from(2)
}

/// The file gets its name when it is whole.
fn write(folder: &Path, resource: &Resource) -> io::Result<()> {
    let folder = folder.join(resource.kind().to_string());
    fs::create_dir_all(&folder)?;
    let part = folder.join("part");
    fs::write(&part, resource.body())?;
    fs::rename(part, folder.join(format!("{}.pb", resource.name())))
}
