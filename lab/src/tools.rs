//! The programs a lab runs: found, or installed by the scripts in `lab/setup`, so that a
//! plain `cargo test` works like `make test`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use tokio::{sync::OnceCell, task, time::timeout};

/// Installing and compiling take minutes; a hang must still end.
const SET_UP_DEADLINE: Duration = Duration::from_mins(20);

/// The bin directory of the newest PostgreSQL server that is installed.
pub async fn postgres_bin() -> Result<&'static Path> {
    static FOUND: OnceCell<PathBuf> = OnceCell::const_new();
    let found = FOUND
        .get_or_try_init(|| run_script("postgres.sh", &[]))
        .await?;
    Ok(found)
}

/// The bin directory of a PostgreSQL server of this major version, 14 to 18.
pub async fn postgres_bin_of(major: u32) -> Result<PathBuf> {
    run_script("versions.sh", &[&major.to_string()]).await
}

/// `pgbench`: the server's own, or the one that is installed.
pub async fn pgbench() -> Result<PathBuf> {
    let beside = postgres_bin().await?.join("pgbench");
    if beside.is_file() {
        return Ok(beside);
    }
    on_path("pgbench").context(
        "pgbench is not installed; it comes with the server (Debian: postgresql-contrib or postgresql-15)",
    )
}

/// Patroni, in a Python environment of the project's own.
pub async fn patroni() -> Result<PathBuf> {
    run_script("peers.sh", &[]).await
}

/// A program that is installed. Debian keeps servers where only root's `PATH` leads.
#[must_use]
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The Envoy binary.
pub async fn envoy() -> Result<&'static Path> {
    static FOUND: OnceCell<PathBuf> = OnceCell::const_new();
    let found = FOUND
        .get_or_try_init(|| run_script("envoy.sh", &[]))
        .await?;
    Ok(found)
}

/// The `pointsman` binary of the profile that this process was built with: the one named by
/// `POINTSMAN_BIN`, or the one beside this process's own, built anew when it is missing or
/// older than its sources.
pub async fn pointsman() -> Result<&'static Path> {
    static FOUND: OnceCell<PathBuf> = OnceCell::const_new();
    let found = FOUND.get_or_try_init(build_pointsman).await?;
    Ok(found)
}

/// The root of the project's work tree.
#[must_use]
pub fn project_root() -> &'static Path {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
    lab.parent().unwrap_or(lab)
}

/// Runs a script of `lab/setup`; what it prints on its last line is the answer.
async fn run_script(name: &str, args: &[&str]) -> Result<PathBuf> {
    let script = project_root().join("lab/setup").join(name);
    let mut command = Command::new(&script);
    command
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = in_background(move || command.output())
        .await
        .with_context(|| format!("running {}", script.display()))?;
    if !output.status.success() {
        bail!(
            "{} could not provide what the lab needs; it says above what to do",
            script.display()
        );
    }
    let answer = String::from_utf8(output.stdout)?;
    let path = answer.lines().last().unwrap_or_default();
    if path.is_empty() {
        bail!("{} named no path", script.display());
    }
    Ok(PathBuf::from(path))
}

async fn build_pointsman() -> Result<PathBuf> {
    if let Some(named) = env::var_os("POINTSMAN_BIN") {
        // A relative path must survive a change of the working directory.
        return fs::canonicalize(&named)
            .with_context(|| format!("POINTSMAN_BIN={}", named.display()));
    }
    let profile = profile_folder()?;
    let binary = profile.join("pointsman");
    let built = fs::metadata(&binary).and_then(|found| found.modified());
    if built.is_ok_and(|built| built >= newest_source()) {
        return Ok(binary);
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // The whole workspace is named so that features, and so compiled dependencies, are
    // those of every other build.
    command
        .args(["build", "--workspace", "--bin", "pointsman"])
        .current_dir(project_root())
        .stdin(Stdio::null());
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = in_background(move || command.status())
        .await
        .context("running cargo to build pointsman")?;
    if !status.success() {
        bail!("`cargo build --workspace --bin pointsman` failed ({status}); its output is above");
    }
    Ok(binary)
}

/// `target/<profile>`, where this process's own binary lies (tests: in `deps` below it).
fn profile_folder() -> Result<PathBuf> {
    let own = env::current_exe().context("finding this process's own binary")?;
    let folder = own
        .parent()
        .context("this process's binary has no folder")?;
    let folder = match folder.parent() {
        Some(above) if folder.ends_with("deps") => above,
        Some(_) | None => folder,
    };
    Ok(folder.to_path_buf())
}

/// When a source of the program was last changed; the epoch when there is none.
fn newest_source() -> SystemTime {
    let root = project_root();
    let members = [
        "proto",
        "catalog",
        "xds",
        "envoy-config",
        "cutover",
        "pointsman",
    ];
    let newest = members
        .iter()
        .filter_map(|member| newest_below(&root.join(member)))
        .chain(modified(&root.join("Cargo.lock")))
        .max();
    newest.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn newest_below(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?;
    entries
        .flatten()
        .filter(|entry| entry.file_name() != "tests")
        .filter_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => newest_below(&entry.path()),
            Ok(_) => modified(&entry.path()),
            Err(_) => None,
        })
        .max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(timeout(SET_UP_DEADLINE, task::spawn_blocking(work))
        .await
        .with_context(|| format!("not done after {SET_UP_DEADLINE:?}"))???)
}
