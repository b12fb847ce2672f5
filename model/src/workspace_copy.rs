//! A copy of the workspace into which faults are planted.

use std::{
    collections::hash_map::DefaultHasher,
    ffi::OsStr,
    fs::{self, DirEntry},
    hash::{Hash as _, Hasher as _},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::fault::{CaughtBy, Fault};

/// A copy of the workspace's sources, built into the target folder of the workspace, where all that is
/// no part of it is built already.
#[derive(Debug)]
pub struct WorkspaceCopy {
    root: PathBuf,
    target: PathBuf,
}

impl WorkspaceCopy {
    /// Copies what has changed since the last copy.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn of(workspace: &Path) -> Result<Self> {
        let target = workspace.join("target");
        let root = target.join("model/faults");
        for name in FILES {
            copy_changed(&workspace.join(name), &root.join(name))?;
        }
        write_changed(&root.join("Cargo.toml"), &planted_version(workspace)?)?;
        for member in members(workspace)? {
            copy_tree(&workspace.join(&member), &root.join(&member))?;
        }
        Ok(Self { root, target })
    }

    /// Whether there is a simulation to find what the model cannot see.
    pub fn has_simulation(&self) -> bool {
        self.root.join("simulate/Cargo.toml").exists()
    }

    /// Where cargo puts a program that is built in it.
    pub fn program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(name)
    }

    /// A number that stands for all files below these names.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn hash_of(&self, names: &[&str]) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        for name in names {
            hash_tree(&self.root.join(name), &mut hasher)?;
        }
        Ok(hasher.finish())
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target)
            .stdin(Stdio::null());
        command
    }

    /// Does something with the fault planted, and takes it out again.
    ///
    /// # Errors
    /// It cannot be planted, or what is done fails.
    pub fn with<T>(&self, fault: &Fault, doing: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let mut before = Vec::new();
        for file in fault.files() {
            let path = self.root.join(file);
            let text = fs::read(&path).with_context(|| format!("{file} is no source any more"))?;
            before.push((path, text));
        }
        before.push(self.leave_out_what_finds_nothing(fault)?);
        let done = self.apply(fault).and_then(|()| doing(self));
        for (path, text) in before {
            fs::write(path, text)?;
        }
        done
    }

    /// Of `cutover` the model needs the machine and nothing else, which is built in seconds. The simulation
    /// brings its own provider. Returns the file that says so, and what it said before.
    fn leave_out_what_finds_nothing(&self, fault: &Fault) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.root.join("cutover/src/lib.rs");
        let before = fs::read_to_string(&path)?;
        let text = match fault.caught_by {
            CaughtBy::Sample | CaughtBy::Medium | CaughtBy::Ends => MACHINE_ALONE.to_owned(),
            CaughtBy::Simulation => before.replace("pub mod providers;\n", ""),
        };
        fs::write(&path, text)?;
        Ok((path, before.into_bytes()))
    }

    fn apply(&self, fault: &Fault) -> Result<()> {
        let patch = [
            "-p1",
            "--forward",
            "--fuzz=0",
            "--silent",
            "--reject-file=-",
        ];
        let patched = self.feed("patch", &patch, &fault.patch);
        let output = match patched {
            Err(error) if error.kind() == ErrorKind::NotFound => self
                .feed("git", &["apply", "-p1"], &fault.patch)
                .context("neither patch nor git is there to plant a fault")?,
            other => other?,
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            bail!("the patch does not apply any more: {}", said.trim());
        }
        Ok(())
    }

    fn feed(&self, program: &str, arguments: &[&str], text: &str) -> std::io::Result<Output> {
        let mut child = self
            .command(program)
            .args(arguments)
            // The copy is no repository, though it lies in one.
            .env("GIT_CEILING_DIRECTORIES", self.target.join("model"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes())?;
        }
        child.wait_with_output()
    }
}

/// The workspace's manifest, by another version: what is built of the copy must not be taken for what
/// is built of the workspace. A simulation that is built for one fault is not worth optimising.
fn planted_version(workspace: &Path) -> Result<Vec<u8>> {
    let text = fs::read_to_string(workspace.join("Cargo.toml"))?;
    let (before, version) = text
        .split_once("\nversion = \"")
        .context("Cargo.toml gives the workspace no version")?;
    let (_, after) = version.split_once('"').unwrap_or_default();
    let text = format!("{before}\nversion = \"0.0.0-planted\"{after}");
    Ok(text.replace(OPTIMISED, NOT_OPTIMISED).into_bytes())
}

fn members(workspace: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace.join("Cargo.toml"))?;
    let list = text
        .lines()
        .find_map(|line| line.strip_prefix("members = "))
        .context("Cargo.toml lists no members in one line")?;
    Ok(serde_json::from_str(list)?)
}

fn hash_tree(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    if path.is_dir() {
        let entries: std::io::Result<Vec<_>> = fs::read_dir(path)?.collect();
        let mut paths: Vec<_> = entries?.iter().map(DirEntry::path).collect();
        paths.sort();
        return paths.iter().try_for_each(|path| hash_tree(path, hasher));
    }
    path.file_name().hash(hasher);
    let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    text.hash(hasher);
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_tree(&from, &to)?;
        } else {
            copy_changed(&from, &to)?;
        }
    }
    Ok(())
}

/// Leaves a file alone that is the same: cargo would build it again.
fn copy_changed(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    write_changed(to, &text)
}

fn write_changed(to: &Path, text: &[u8]) -> Result<()> {
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, text).with_context(|| format!("write {}", to.display()))
}

const MACHINE_ALONE: &str = "
pub mod machine;
mod settings;
pub use settings::Settings;
pub mod ports {
    mod clock;
    pub use clock::Monotonic;
}
";

const OPTIMISED: &str = "[profile.dev.package.pointsman-simulate]\nopt-level = 2";
const NOT_OPTIMISED: &str = "[profile.dev.package.pointsman-simulate]\nopt-level = 0";

const FILES: [&str; 4] = [
    "Cargo.lock",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "clippy.toml",
];
