use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use crate::{build::CompilerError, list::Mutant, woven::Woven};

/// All mutants in their files, each behind its number: its place in the list.
#[derive(Debug)]
pub(crate) struct Weaving {
    pub(crate) files: BTreeMap<String, Woven>,
}

impl Weaving {
    /// Weaves all mutants but those in `out`.
    pub(crate) fn of(workspace: &Path, mutants: &[Mutant], out: &BTreeSet<usize>) -> Result<Self> {
        let mut by_file = BTreeMap::<_, Vec<_>>::new();
        for (number, mutant) in mutants.iter().enumerate() {
            if !out.contains(&number) {
                let file = by_file.entry(mutant.file.clone()).or_default();
                file.push((number, mutant));
            }
        }
        let mut files = BTreeMap::new();
        for (file, mutants) in by_file {
            let text = fs::read_to_string(workspace.join(&file))
                .with_context(|| format!("read {file}"))?;
            let woven = Woven::of(&text, &mutants).with_context(|| file.clone())?;
            files.insert(file, woven);
        }
        Ok(Self { files })
    }

    /// The files' texts.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        let files = self.files.iter();
        files
            .map(|(file, woven)| (file.clone(), woven.text.clone()))
            .collect()
    }

    /// Whether a mutant can be switched on.
    pub(crate) fn has(&self, number: usize) -> bool {
        let mut put = self.files.values().flat_map(|woven| &woven.put);
        put.any(|(put, _)| *put == number)
    }

    /// The mutants that the compiler's errors are about, each with what it says.
    ///
    /// # Errors
    /// One is about none of them.
    pub(crate) fn refused(&self, errors: &[CompilerError]) -> Result<BTreeMap<usize, String>> {
        let mut refused = BTreeMap::new();
        for error in errors {
            let found = error.places.iter().find_map(|(file, range)| {
                let woven = self.files.get(file)?;
                let mut put = woven.put.iter();
                put.find(|(_, put)| put.start <= range.start && range.end <= put.end)
            });
            match found {
                Some((number, _)) => {
                    refused.insert(*number, error.said.clone());
                }
                None => bail!(
                    "the mutants cannot be built, and no single one is to blame: {} ({:?})",
                    error.said,
                    error.places
                ),
            }
        }
        Ok(refused)
    }
}
