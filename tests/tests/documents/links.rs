//! What the documents point to.

use std::{collections::BTreeSet, fs};

use anyhow::Result;

use super::markdown::{Document, documents, files, root};

#[test]
fn every_link_inside_the_repository_leads_somewhere() -> Result<()> {
    let mut dead = Vec::new();
    for document in documents()? {
        for link in document.links() {
            if link.text.contains("://") {
                continue;
            }
            let (path, anchor) = link.text.split_once('#').unwrap_or((&link.text, ""));
            let target = if path.is_empty() {
                document.path.clone()
            } else {
                document.path.with_file_name(path)
            };
            let leads = root().join(&target).exists()
                && (anchor.is_empty()
                    || Document::read(&target)?
                        .anchors()
                        .iter()
                        .any(|name| name == anchor));
            if !leads {
                dead.push(format!("{}: {}", document.at(link.line), link.text));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
    Ok(())
}

#[test]
fn every_path_that_is_named_exists() -> Result<()> {
    let files: Vec<_> = files()?
        .iter()
        .map(|path| format!("/{}", path.display()))
        .collect();
    let folders: BTreeSet<_> = files
        .iter()
        .flat_map(|path| {
            path.match_indices('/')
                .map(|(at, _)| path[..=at].to_owned())
        })
        .collect();
    let mut missing = Vec::new();
    for document in documents()? {
        for code in document.inline_code() {
            let Some(path) = path(&code.text) else {
                continue;
            };
            // A path may be given from any folder on: `steps/hold.rs`.
            let tail = format!("/{}", path.trim_end_matches('/'));
            let known = files.iter().any(|file| file.ends_with(&tail))
                || folders
                    .iter()
                    .any(|folder| folder.ends_with(&format!("{tail}/")));
            if !known {
                missing.push(format!("{}: {path}", document.at(code.line)));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}

/// `text`, if it names something of this repository.
fn path(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    if !text.chars().all(plain) || text.starts_with(['/', '.', '-']) || text.starts_with("target/")
    {
        return None;
    }
    let source = [".rs", ".md", ".sh", ".proto", ".svg"]
        .iter()
        .any(|end| text.ends_with(end));
    let top = text.split('/').next().filter(|_| text.contains('/'));
    let ours = top.is_some_and(|top| root().join(top).is_dir());
    (source || ours).then_some(text)
}

#[test]
fn every_test_and_function_that_is_named_exists() -> Result<()> {
    let mut sources = String::new();
    for path in files()?
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
    {
        // The sources of this test do not count.
        if !path.starts_with("tests/tests/documents") {
            sources.push_str(&fs::read_to_string(root().join(path))?);
        }
    }
    let mut missing = Vec::new();
    for document in documents()? {
        for code in document.inline_code() {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let name = code.text.trim_end_matches("()");
            // Shorter names are mostly PostgreSQL's own.
            if name.chars().all(plain) && name.matches('_').count() >= 3 && !sources.contains(name)
            {
                missing.push(format!("{}: {}", document.at(code.line), code.text));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}
