//! What the programs of this folder share: how they speak, and how they are told how much to do.

use std::{
    env,
    io::{Write as _, stdout},
};

use anyhow::{Context as _, Result};

/// Prints a line.
pub fn tell(line: &str) {
    // A reader that closes the pipe does not want the rest.
    writeln!(stdout().lock(), "{line}").ok();
}

/// How many of something: what the environment says under `variable`, else `default`.
///
/// # Errors
/// It is no number from 1.
pub fn count(variable: &str, default: usize) -> Result<usize> {
    let Ok(text) = env::var(variable) else {
        return Ok(default);
    };
    let count = text.parse().ok().filter(|count| *count > 0);
    count.with_context(|| format!("{variable}={text}: must be a number from 1"))
}
