//! What is kept of a round that broke a promise.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{plan::Plan, round::Round, stage::Stage};

/// Keeps logs, settings and store of `stage`, the story of `round` and the migration's record. Returns the folder.
pub(super) fn kept(
    stage: &Stage,
    plan: &Plan,
    round: &Round,
    (seed, number): (u64, u64),
) -> Result<String> {
    let folder = format!("{FOLDER}/seed-{seed}-round-{number}");
    let path = Path::new(&folder);
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    fs::create_dir_all(path).with_context(|| folder.clone())?;
    copy(stage.folder(), path)?;
    let store = stage.folder().join("store");
    if store.is_dir() {
        let kept = path.join("store");
        fs::create_dir_all(&kept)?;
        copy(&store, &kept)?;
    }
    let mut story = format!("seed {seed}, round {number}\n{plan:#?}\n\n");
    for line in &round.noted.story {
        writeln!(story, "{line}")?;
    }
    for fault in round.faults() {
        writeln!(story, "WRONG: {fault}")?;
    }
    fs::write(path.join("story.txt"), story)?;
    let status = serde_json::to_string_pretty(&round.status)?;
    fs::write(path.join("migration.json"), status)?;
    Ok(folder)
}

/// The files of a folder, without what is below.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

const FOLDER: &str = "target/chaos";
