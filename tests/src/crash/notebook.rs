//! What is kept of a run that was killed: the writes of the undisturbed runs, and each case that ended.

use std::{
    fs::{self, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io::{ErrorKind, Write as _},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Serialize, de::DeserializeOwned};

use super::{cell::Place, outcome::Outcome};

/// The files of one commit below `target/crash`.
#[derive(Clone, Debug)]
pub(super) struct Notebook {
    commit: String,
    folder: PathBuf,
}

impl Notebook {
    /// That of the sources as they are.
    ///
    /// # Errors
    /// The folder cannot be made, or nobody says what the sources are.
    pub(super) fn open() -> Result<Self> {
        let commit = commit()?;
        let folder = PathBuf::from(FOLDER).join(&commit);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { commit, folder })
    }

    /// What is tested.
    #[must_use]
    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// The writes of the undisturbed runs, if they were counted.
    ///
    /// # Errors
    /// The file is damaged.
    pub(super) fn places(&self) -> Result<Vec<Place>> {
        self.read(PLACES)
    }

    /// Keeps them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep_places(&self, places: &[Place]) -> Result<()> {
        places.iter().try_for_each(|place| self.add(PLACES, place))
    }

    /// The cases that have ended.
    ///
    /// # Errors
    /// The file is damaged.
    pub(super) fn outcomes(&self) -> Result<Vec<Outcome>> {
        self.read(CASES)
    }

    /// Keeps one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn keep(&self, outcome: &Outcome) -> Result<()> {
        self.add(CASES, outcome)
    }

    fn add(&self, file: &str, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let path = self.folder.join(file);
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(file.write_all(text.as_bytes())?)
    }

    /// A last line that a kill left unfinished does not count.
    fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Vec<T>> {
        let text = match fs::read_to_string(self.folder.join(file)) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let parsed = lines.map(|line| serde_json::from_str(line).with_context(|| file.to_owned()));
        parsed.collect()
    }
}

/// The commit; with what was changed since, as a number.
fn commit() -> Result<String> {
    let head = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain"])?;
    let head = head.trim();
    if changed.trim().is_empty() {
        return Ok(head.to_owned());
    }
    let mut hasher = DefaultHasher::new();
    (changed, git(&["diff", "HEAD"])?).hash(&mut hasher);
    Ok(format!("{head}-{:016x}", hasher.finish()))
}

fn git(args: &[&str]) -> Result<String> {
    let output = Command::new("git").args(args).output().context("git")?;
    ensure!(output.status.success(), "git {args:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

const FOLDER: &str = "target/crash";
const PLACES: &str = "writes.jsonl";
const CASES: &str = "cases.jsonl";
