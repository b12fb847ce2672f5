use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

/// A copy of what it takes to build the mutated crate, its tests and the simulation. It is built into a
/// folder of its own: in the workspace's, cargo would take its hollow crates for the real ones.
#[derive(Debug)]
pub(crate) struct LeanCopy {
    workspace: PathBuf,
    root: PathBuf,
}

impl LeanCopy {
    /// Copies what has changed since the last copy, and writes `changed` in place of those files.
    pub(crate) fn of(workspace: &Path, changed: &BTreeMap<String, String>) -> Result<Self> {
        let copy = Self {
            workspace: workspace.to_owned(),
            root: workspace.join("target/mutants/copy"),
        };
        for part in MEMBERS.into_iter().chain(FILES) {
            copy.lay(part, changed)?;
        }
        let cutover = without_simulation(&copy.original("cutover/Cargo.toml")?)?;
        copy.write("cutover/Cargo.toml", &cutover)?;
        let library = copy.original(LIBRARY)?;
        copy.write(LIBRARY, &format!("{library}{SWITCH}"))?;
        let manifest = copy.original("Cargo.toml")?;
        copy.write("Cargo.toml", &manifest)?;
        let others = members(&manifest)?.into_iter();
        for member in others.filter(|member| !MEMBERS.contains(&member.as_str())) {
            copy.hollow(&member)?;
        }
        // The servers that the lab starts.
        let linked = symlink(workspace.join(".lab"), copy.root.join(".lab"));
        if let Err(error) = linked
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error.into());
        }
        Ok(copy)
    }

    /// A command that runs in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env(
                "CARGO_TARGET_DIR",
                self.workspace.join("target/mutants/build"),
            )
            .stdin(Stdio::null());
        command
    }

    /// A file or folder of it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file, from the workspace's root, if that changes it.
    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        write_changed(&self.root.join(file), text.as_bytes())
    }

    /// The text of a file in the workspace.
    pub(crate) fn original(&self, file: &str) -> Result<String> {
        let path = self.workspace.join(file);
        fs::read_to_string(path).with_context(|| format!("read {file}"))
    }

    /// A member that nothing here is built of. What it depends on has the features that the workspace
    /// gives it, so nothing of that is built anew.
    fn hollow(&self, member: &str) -> Result<()> {
        let manifest = format!("{member}/Cargo.toml");
        let alone = library_alone(&self.original(&manifest)?);
        self.write(&manifest, &alone)?;
        self.write(&format!("{member}/src/lib.rs"), "")
    }

    fn lay(&self, part: &str, changed: &BTreeMap<String, String>) -> Result<()> {
        let from = self.workspace.join(part);
        if from.is_dir() {
            for entry in fs::read_dir(&from).with_context(|| format!("read {part}"))? {
                let name = entry?.file_name();
                self.lay(&format!("{part}/{}", name.to_string_lossy()), changed)?;
            }
            return Ok(());
        }
        if OURS.contains(&part) {
            return Ok(());
        }
        let to = self.root.join(part);
        match changed.get(part) {
            Some(text) => write_changed(&to, text.as_bytes()),
            None => {
                let text = fs::read(&from).with_context(|| format!("read {part}"))?;
                write_changed(&to, &text)?;
                // Scripts are run there.
                Ok(fs::set_permissions(to, fs::metadata(from)?.permissions())?)
            }
        }
    }
}

fn members(manifest: &str) -> Result<Vec<String>> {
    let mut lines = manifest.lines();
    let list = lines
        .find_map(|line| line.strip_prefix("members = "))
        .context("Cargo.toml lists no members in one line")?;
    Ok(serde_json::from_str(list)?)
}

/// A member's manifest without its programs, tests and benchmarks.
fn library_alone(manifest: &str) -> String {
    let mut is_left_out = false;
    let mut kept = String::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_left_out = line.starts_with("[[");
        }
        if !is_left_out {
            kept.extend([line, "\n"]);
        }
    }
    kept
}

/// Leaves a file alone that is the same: cargo would build it again.
fn write_changed(to: &Path, text: &[u8]) -> Result<()> {
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, text).with_context(|| format!("write {}", to.display()))
}

/// Otherwise cargo builds the simulation for each unit test.
fn without_simulation(cutover: &str) -> Result<String> {
    let line = "pointsman-simulate.workspace = true\n";
    let (before, after) = cutover
        .split_once(line)
        .context("cutover/Cargo.toml names no simulation for its tests")?;
    Ok(format!("{before}{after}"))
}

const MEMBERS: [&str; 4] = ["catalog", "cutover", "lab", "simulate"];
const FILES: [&str; 2] = ["Cargo.lock", "rust-toolchain.toml"];
/// What is written anew.
const OURS: [&str; 2] = ["cutover/Cargo.toml", LIBRARY];
const LIBRARY: &str = "cutover/src/lib.rs";

/// Which mutant is on: the one of the environment.
const SWITCH: &str = "
pub(crate) fn mutant(number: usize) -> bool {
    static ON: std::sync::OnceLock<Option<usize>> = std::sync::OnceLock::new();
    let on = ON.get_or_init(|| std::env::var(\"POINTSMAN_MUTANT\").ok()?.parse().ok());
    *on == Some(number)
}
";
