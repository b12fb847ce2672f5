//! The JSON file that a program of the lab leaves behind.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

/// A result at a path below the present folder.
#[derive(Debug, Clone, Copy)]
pub struct ResultFile(&'static str);

impl ResultFile {
    /// Takes away what a former run left, so that nobody mistakes it for this one's.
    ///
    /// # Errors
    /// The file is there and cannot be removed.
    pub fn fresh(path: &'static str) -> anyhow::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing the former {path}"))
            }
            Ok(()) | Err(_) => Ok(Self(path)),
        }
    }

    /// Writes the result.
    ///
    /// # Errors
    /// The file, or the folder for it, cannot be made.
    pub fn write(self, result: &impl Serialize) -> anyhow::Result<()> {
        let Self(path) = self;
        if let Some(folder) = Path::new(path).parent() {
            fs::create_dir_all(folder).with_context(|| format!("making the folder of {path}"))?;
        }
        let mut text = serde_json::to_string_pretty(result)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("writing {path}"))
    }
}
