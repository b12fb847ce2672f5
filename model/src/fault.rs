//! A deliberate fault: a patch to the shipped source, and the promise that breaks with it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

/// One patch of `model/faults`.
#[derive(Clone, Debug)]
pub struct Fault {
    pub name: String,
    /// What is wrong with it, in a sentence.
    pub what: String,
    /// The promise that must be found broken.
    pub breaks: String,
    pub caught_by: CaughtBy,
    /// The patch as `patch -p1` takes it.
    pub patch: String,
}

/// What must find a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CaughtBy {
    /// The model, in its sample.
    Sample,
    /// The model, in bounds between the sample's and the full ones.
    Medium,
    /// The model, by its search for an end or for a switch that comes through.
    Ends,
    /// The simulation: the steps and what they ask of servers.
    Simulation,
}

impl Fault {
    /// Every fault of `folder`, by name.
    ///
    /// # Errors
    /// A file cannot be read, or is no fault.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "patch")
            {
                found.push(Self::read(&path)?);
            }
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    fn read(path: &Path) -> Result<Self> {
        let patch = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let field = |label: &str| {
            let head = patch.lines().take_while(|line| !line.starts_with("--- "));
            let mut values = head.filter_map(|line| line.strip_prefix(label));
            values.next().map(str::to_owned)
        };
        let what = patch.lines().next().unwrap_or_default().to_owned();
        let breaks = field("Breaks: ");
        let breaks = breaks.with_context(|| format!("{name} says no promise (`Breaks: `)"))?;
        let caught_by = match (
            field("Caught by: ").as_deref(),
            field("Bounds: ").as_deref(),
        ) {
            (Some("model"), Some("small")) => CaughtBy::Sample,
            (Some("model"), Some("medium")) => CaughtBy::Medium,
            (Some("model"), Some("ends")) => CaughtBy::Ends,
            (Some("simulation"), None) => CaughtBy::Simulation,
            (by, bounds) => bail!("{name}: nothing known finds it ({by:?}, {bounds:?})"),
        };
        Ok(Self {
            name: name.into_owned(),
            what,
            breaks,
            caught_by,
            patch,
        })
    }

    /// The files that it changes, from the workspace's root.
    pub fn files(&self) -> Vec<&str> {
        let lines = self.patch.lines();
        lines
            .filter_map(|line| line.strip_prefix("+++ b/"))
            .collect()
    }
}
