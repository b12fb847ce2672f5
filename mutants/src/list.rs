use std::{
    io::ErrorKind,
    ops::Range,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// One small change of one file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Mutant {
    /// `FILE:LINE:COLUMN: what is changed`: no two have the same.
    pub(crate) name: String,
    /// From the workspace's root.
    pub(crate) file: String,
    pub(crate) genre: Genre,
    pub(crate) replacement: String,
    span: Span,
}

/// What kind of change it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub(crate) enum Genre {
    /// A function returns something of its type.
    FnValue,
    BinaryOperator,
    /// It is deleted.
    UnaryOperator,
    /// An arm is deleted beside a `_`.
    MatchArm,
    MatchArmGuard,
    /// A field is deleted before a `..base`.
    StructField,
}

/// What is replaced.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Span {
    start: Place,
    /// The first one that stays.
    end: Place,
}

/// Both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Mutant {
    /// All that cargo-mutants makes of the files that `.cargo/mutants.toml` names.
    ///
    /// # Errors
    /// It is not installed, or cannot list them.
    pub(crate) fn all(workspace: &Path) -> Result<Vec<Self>> {
        let own = workspace.join("target/mutants/tool/bin/cargo-mutants");
        let program = if own.exists() {
            own
        } else {
            "cargo-mutants".into()
        };
        let listed = Command::new(program)
            .args(["mutants", "--list", "--json", "--colors", "never"])
            .args(["--package", "pointsman-cutover"])
            .current_dir(workspace)
            .stdin(Stdio::null())
            .output();
        let listed = match listed {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("{NOT_INSTALLED}"),
            other => other?,
        };
        if !listed.status.success() {
            let said = String::from_utf8_lossy(&listed.stderr);
            bail!("cargo-mutants lists no mutants: {}", said.trim());
        }
        serde_json::from_slice(&listed.stdout).context("what cargo-mutants lists cannot be read")
    }

    /// What is changed, without the place.
    pub(crate) fn mutation(&self) -> &str {
        let Place { line, column } = self.span.start;
        let place = format!("{}:{line}:{column}: ", self.file);
        self.name.strip_prefix(&place).unwrap_or(&self.name)
    }

    /// The line where it begins.
    pub(crate) fn line(&self) -> usize {
        self.span.start.line
    }

    /// That line's text, as it was.
    pub(crate) fn code<'a>(&self, file: &'a str) -> &'a str {
        let line = file.lines().nth(self.line().saturating_sub(1));
        line.unwrap_or_default().trim()
    }

    /// What it replaces in the text of its file.
    pub(crate) fn range(&self, file: &str) -> Result<Range<usize>> {
        let Span { start, end } = self.span;
        let range = start.offset(file).zip(end.offset(file));
        range
            .map(|(start, end)| start..end)
            .with_context(|| format!("{} has no such place", self.name))
    }

    /// The file's text with the change in it.
    pub(crate) fn planted(&self, file: &str) -> Result<String> {
        let range = self.range(file)?;
        let mut text = file.to_owned();
        text.replace_range(range, &self.replacement);
        Ok(text)
    }
}

impl Place {
    pub(crate) fn offset(self, text: &str) -> Option<usize> {
        let above = self.line.checked_sub(1)?;
        let above: usize = text.split_inclusive('\n').take(above).map(str::len).sum();
        let line = text.get(above..)?;
        let places = line.char_indices().map(|(at, _)| at).chain([line.len()]);
        let within = places.into_iter().nth(self.column.checked_sub(1)?)?;
        Some(above + within)
    }
}

const NOT_INSTALLED: &str = "cargo-mutants is not installed; it makes the mutants: cargo install --locked --version 27.1.0 \
     --root target/mutants/tool cargo-mutants";

#[cfg(test)]
impl Mutant {
    /// The change of `old`, where it stands first in `file`, to `new`.
    pub(crate) fn of(genre: Genre, file: &str, old: &str, new: &str) -> Self {
        let place = |offset: usize| {
            let before = file.get(..offset).unwrap();
            Place {
                line: before.matches('\n').count() + 1,
                column: before.rsplit('\n').next().unwrap().chars().count() + 1,
            }
        };
        let start = file.find(old).unwrap();
        let span = Span {
            start: place(start),
            end: place(start + old.len()),
        };
        let Place { line, column } = span.start;
        Self {
            name: format!("src/a.rs:{line}:{column}: replace {old} with {new}"),
            file: "src/a.rs".to_owned(),
            genre,
            replacement: new.to_owned(),
            span,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "fn older(a: u64) -> bool {\n    // älter als ß?\n    a > 7\n}\n";

    #[test]
    fn a_mutant_is_planted_where_it_was_listed() {
        for (old, new) in [(">", ">="), ("a > 7", "true"), ("ä", "a"), ("?", "")] {
            let mutant = Mutant::of(Genre::BinaryOperator, FILE, old, new);
            let expected = FILE.replacen(old, new, 1);
            assert_eq!(mutant.planted(FILE).unwrap(), expected);
            assert_eq!(mutant.mutation(), format!("replace {old} with {new}"));
        }
        let operator = Mutant::of(Genre::BinaryOperator, FILE, "> 7", "");
        assert_eq!(operator.code(FILE), "a > 7");
    }

    #[test]
    fn another_file_than_the_listed_one_is_refused() {
        let operator = Mutant::of(Genre::BinaryOperator, FILE, "> 7", "");
        assert!(operator.planted("fn older() {}\n").is_err());
    }
}
