//! The programs of the peers: found, or said to be missing.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use pointsman_lab::tools;

use super::round::Front;

/// The programs that a peer consists of.
#[derive(Clone, Debug)]
pub(super) struct Tools {
    pub(super) patroni: PathBuf,
    pub(super) etcd: PathBuf,
    /// HAProxy or PgBouncer.
    pub(super) front: PathBuf,
    pub(super) postgres_bin: PathBuf,
}

/// What is not installed, and how to install it.
#[derive(Clone, Debug)]
pub(super) struct Missing(pub(super) String);

impl Tools {
    /// The peers by name, with their programs.
    pub(super) async fn find() -> Vec<(&'static str, Front, Result<Self, Missing>)> {
        let patroni = match tools::patroni().await {
            Ok(found) => Ok(found),
            Err(error) => Err(Missing(format!("Patroni is not installed ({error:#})"))),
        };
        let postgres = match tools::postgres_bin().await {
            Ok(found) => Ok(found),
            Err(error) => Err(Missing(format!("PostgreSQL is not installed ({error:#})"))),
        };
        let peers = [
            ("patroni_haproxy", Front::HaProxy, "haproxy"),
            ("patroni_pgbouncer", Front::PgBouncer, "pgbouncer"),
        ];
        let found = peers.map(|(name, front, program)| {
            let tools = || {
                Ok(Self {
                    patroni: patroni.clone()?,
                    etcd: installed("etcd", "etcd-server")?,
                    front: installed(program, program)?,
                    postgres_bin: postgres.clone()?.to_path_buf(),
                })
            };
            (name, front, tools())
        });
        found.into()
    }

    /// What each program says of its version.
    pub(super) fn versions(&self) -> Vec<(String, String)> {
        let Self {
            patroni,
            etcd,
            front,
            postgres_bin,
        } = self;
        let postgres = &postgres_bin.join("postgres");
        let asked = [
            (patroni, "--version"),
            (etcd, "--version"),
            (
                front,
                if front.ends_with("haproxy") {
                    "-v"
                } else {
                    "--version"
                },
            ),
            (postgres, "--version"),
        ];
        let versions = asked.into_iter();
        versions
            .filter_map(|(program, flag)| {
                let name = program.file_name()?.to_string_lossy().into_owned();
                Some((name, version(program, flag)?))
            })
            .collect()
    }
}

fn installed(program: &str, package: &str) -> Result<PathBuf, Missing> {
    tools::on_path(program).ok_or_else(|| {
        Missing(format!(
            "{program} is not installed (apt-get install {package})"
        ))
    })
}

/// The first line that the program prints.
fn version(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let missing = installed("no-such-program", "its-package").map_err(|Missing(what)| what);
        assert_eq!(
            missing,
            Err("no-such-program is not installed (apt-get install its-package)".to_owned())
        );
    }
}
