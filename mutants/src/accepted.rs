use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::list::Mutant;

/// A mutant that nothing can notice, because it changes nothing that anybody could see.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accepted {
    pub(crate) file: String,
    /// What is changed, as cargo-mutants says it.
    pub(crate) mutation: String,
    /// The line that is changed, since line numbers do not stay.
    pub(crate) code: String,
    pub(crate) reason: String,
}

impl Accepted {
    /// All that are accepted.
    ///
    /// # Errors
    /// The list cannot be read.
    pub(crate) fn all(workspace: &Path) -> Result<Vec<Self>> {
        let text = fs::read(workspace.join(LIST)).with_context(|| format!("read {LIST}"))?;
        serde_json::from_slice(&text).with_context(|| format!("{LIST} cannot be read"))
    }

    /// Whether this is `mutant`, in the `text` of its file.
    pub(crate) fn is(&self, mutant: &Mutant, text: &str) -> bool {
        self.file == mutant.file
            && self.mutation == mutant.mutation()
            && self.code == mutant.code(text)
    }
}

const LIST: &str = "mutants/accepted.json";
