use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::judgement::Judgement;

/// The judgements of one state of the source. A run that was cut off goes on where it was.
#[derive(Debug)]
pub(crate) struct Judgements {
    /// The commit that is looked at.
    pub(crate) commit: String,
    path: PathBuf,
    known: BTreeMap<String, Judgement>,
}

impl Judgements {
    /// What is known of the committed source. Other commits with the same source share it.
    ///
    /// # Errors
    /// The source is not committed, or the record cannot be read.
    pub(crate) fn open(workspace: &Path) -> Result<Self> {
        let mut status = vec!["status", "--porcelain", "--"];
        status.extend(SOURCES);
        let changed = git(workspace, &status)?;
        if !changed.is_empty() {
            bail!(
                "judgements are kept by commit, and this is in none:\n{changed}\ncommit it, or put it \
                 away, and try again"
            );
        }
        let commit = git(workspace, &["rev-parse", "HEAD"])?;
        let trees = SOURCES.map(|source| format!("HEAD:{source}"));
        let mut asked = vec!["rev-parse"];
        asked.extend(trees.iter().map(String::as_str));
        let hashes = git(workspace, &asked)?;
        let short: Vec<_> = hashes.lines().filter_map(|hash| hash.get(..8)).collect();
        let key = short.join("-");
        let path = workspace.join(format!("target/mutants/{key}.jsonl"));
        let known = match fs::read_to_string(&path) {
            Ok(text) => text.lines().map(parsed).collect::<Result<_>>()?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display()))?,
        };
        Ok(Self {
            commit,
            path,
            known,
        })
    }

    /// What came of a mutant, where it was judged.
    pub(crate) fn of(&self, name: &str) -> Option<&Judgement> {
        self.known.get(name)
    }

    /// Keeps a judgement.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn add(&mut self, judgement: Judgement) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        // In one write: a line is whole, or not there.
        file.write_all(format!("{}\n", serde_json::to_string(&judgement)?).as_bytes())?;
        self.known.insert(judgement.name.clone(), judgement);
        Ok(())
    }
}

fn parsed(line: &str) -> Result<(String, Judgement)> {
    let judgement: Judgement = serde_json::from_str(line)?;
    Ok((judgement.name.clone(), judgement))
}

fn git(workspace: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(workspace)
        .output()
        .context("git is needed to tell one state of the source from another")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git {}: {}", arguments.join(" "), said.trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// All that decides what comes of a mutant.
const SOURCES: [&str; 6] = [
    "cutover",
    "simulate",
    "catalog",
    "lab",
    "Cargo.toml",
    "Cargo.lock",
];
