//! Just enough Markdown for this repository's documents.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

/// A document, and where it stands below the root of the repository.
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    lines: Vec<Line>,
}

struct Line {
    number: usize,
    text: String,
    kind: Kind,
}

#[derive(Clone, Eq, PartialEq)]
enum Kind {
    Prose,
    /// A line of a fenced block, with the block's language.
    Code(String),
    Fence,
}

/// A piece of a document and the line on which it stands.
pub(crate) struct Piece {
    pub(crate) line: usize,
    pub(crate) text: String,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below the root, relative to it, built and downloaded ones apart.
pub(crate) fn files() -> Result<Vec<PathBuf>> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let foreign = ["target", ".lab", ".git"]
                .iter()
                .any(|name| path.ends_with(name));
            if entry.file_type()?.is_dir() {
                if !foreign {
                    folders.push(path);
                }
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every Markdown file of the repository.
pub(crate) fn documents() -> Result<Vec<Document>> {
    let found = files()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(Document::read)
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        found.len() > 5,
        "there are more documents than {}",
        found.len()
    );
    Ok(found)
}

impl Document {
    pub(crate) fn read(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text =
            fs::read_to_string(root().join(&path)).with_context(|| path.display().to_string())?;
        let mut lines = Vec::new();
        let mut language = None;
        for (index, text) in text.lines().enumerate() {
            let kind = match (text.trim_start().strip_prefix("```"), &language) {
                (Some(_), Some(_)) => {
                    language = None;
                    Kind::Fence
                }
                (Some(name), None) => {
                    language = Some(name.to_owned());
                    Kind::Fence
                }
                (None, Some(name)) => Kind::Code(name.clone()),
                (None, None) => Kind::Prose,
            };
            lines.push(Line {
                number: index + 1,
                text: text.to_owned(),
                kind,
            });
        }
        Ok(Self { path, lines })
    }

    /// Where `line` of this document is, for a message.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }

    /// Text between backticks.
    pub(crate) fn inline_code(&self) -> Vec<Piece> {
        self.prose()
            .flat_map(|line| {
                let pieces = line.text.split('`').skip(1).step_by(2);
                pieces.map(|text| Piece {
                    line: line.number,
                    text: text.to_owned(),
                })
            })
            .collect()
    }

    /// The lines of fenced blocks in one of `languages`; a line that ends in a backslash is joined with the next one.
    pub(crate) fn code_lines(&self, languages: &[&str]) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut continues = false;
        for line in &self.lines {
            let Kind::Code(language) = &line.kind else {
                continues = false;
                continue;
            };
            if !languages.contains(&language.as_str()) {
                continue;
            }
            let text = line.text.trim();
            let whole = text.strip_suffix('\\').unwrap_or(text);
            match pieces.last_mut() {
                Some(piece) if continues => piece.text.push_str(whole),
                _ => pieces.push(Piece {
                    line: line.number,
                    text: whole.to_owned(),
                }),
            }
            continues = text.ends_with('\\');
        }
        pieces
    }

    /// Targets of links and pictures.
    pub(crate) fn links(&self) -> Vec<Piece> {
        self.prose()
            .flat_map(|line| {
                let targets = line.text.split("](").skip(1);
                targets.filter_map(|rest| {
                    let text = rest.split(')').next()?.to_owned();
                    Some(Piece {
                        line: line.number,
                        text,
                    })
                })
            })
            .collect()
    }

    /// The anchors of the headings, as forges make them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        self.prose()
            .filter(|line| line.text.starts_with('#'))
            .map(|line| {
                let heading = line.text.trim_start_matches('#').trim().to_lowercase();
                heading
                    .chars()
                    .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                    .map(|c| if c == ' ' { '-' } else { c })
                    .collect()
            })
            .collect()
    }

    /// The rows of the table whose first cells are `header`.
    pub(crate) fn table(&self, header: &[&str]) -> Result<Vec<Vec<String>>> {
        let mut lines = self.prose().map(|line| cells(&line.text));
        lines
            .find(|cells| {
                cells
                    .iter()
                    .zip(header)
                    .filter(|(cell, name)| cell == name)
                    .count()
                    == header.len()
            })
            .with_context(|| format!("{} has no table {header:?}", self.path.display()))?;
        let rows: Vec<_> = lines
            .skip(1)
            .take_while(|cells| !cells.is_empty())
            .collect();
        ensure!(
            !rows.is_empty(),
            "{}: the table {header:?} is empty",
            self.path.display()
        );
        Ok(rows)
    }

    fn prose(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.kind == Kind::Prose)
    }
}

/// The cells of a table's row; none of any other line.
fn cells(line: &str) -> Vec<String> {
    let Some(row) = line
        .trim()
        .strip_prefix('|')
        .and_then(|row| row.strip_suffix('|'))
    else {
        return Vec::new();
    };
    row.replace("\\|", "\u{1}")
        .split('|')
        .map(|cell| cell.trim().replace('\u{1}', "|"))
        .collect()
}
