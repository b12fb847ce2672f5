//! The commands that the documents show, against the program's own definition of its command line.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _, Parser as _, error::ErrorKind};
use pointsman::cli::Cli;

use super::markdown::{Document, documents, root};

#[test]
fn every_command_that_is_shown_parses() -> Result<()> {
    let mut refused = Vec::new();
    let mut seen = 0;
    for document in documents()? {
        for line in document.code_lines(&["sh"]) {
            let words = words(&line.text);
            if words.first().is_some_and(|word| word == "pointsman") {
                seen += 1;
                if let Err(error) = Cli::try_parse_from(words) {
                    refused.push(format!("{}: {error}", document.at(line.line)));
                }
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert!(seen > 20, "only {seen} commands were found");
    Ok(())
}

#[test]
fn every_command_that_is_mentioned_exists() -> Result<()> {
    let mut refused = Vec::new();
    for document in documents()? {
        for code in document.inline_code() {
            if !code.text.starts_with("pointsman ") || code.text.contains('…') {
                continue;
            }
            let words = words(&code.text.replace(['[', ']'], ""));
            // A mention may leave out what the verb needs, and write NODE for a node's name.
            let incomplete = [
                ErrorKind::ValueValidation,
                ErrorKind::MissingRequiredArgument,
                ErrorKind::MissingSubcommand,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ];
            if let Err(error) = Cli::try_parse_from(words)
                && !incomplete.contains(&error.kind())
            {
                refused.push(format!("{}: {error}", document.at(code.line)));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}

#[test]
fn every_flag_that_is_mentioned_exists() -> Result<()> {
    let mut known = BTreeSet::from(["help", "version"].map(str::to_owned));
    flags(&Cli::command(), &mut known);
    let mut unknown = Vec::new();
    for document in documents()? {
        for code in document.inline_code() {
            // Whole commands of other programs have flags of their own.
            if !code.text.starts_with("--") && !code.text.starts_with("pointsman ") {
                continue;
            }
            for flag in code
                .text
                .split_whitespace()
                .filter_map(|word| word.trim_matches(['[', ']']).strip_prefix("--"))
            {
                let name = flag.split('=').next().unwrap_or(flag);
                if !known.contains(name) && !OTHERS.contains(&name) {
                    unknown.push(format!("{}: --{name}", document.at(code.line)));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    Ok(())
}

#[test]
fn the_table_of_commands_is_that_of_the_program() -> Result<()> {
    let mut verbs = Vec::new();
    leaves(&Cli::command(), "", &mut verbs);
    let listed = Document::read("docs/operations.md")?.table(&["command", "does"])?;
    let listed: Vec<_> = listed
        .iter()
        .map(|row| format!("| {} |", row.join(" | ")))
        .collect();
    assert!(
        listed == verbs,
        "the table of commands in docs/operations.md is to be:\n{}",
        verbs.join("\n")
    );
    Ok(())
}

#[test]
fn every_make_target_that_is_named_exists() -> Result<()> {
    let makefile = fs::read_to_string(root().join("Makefile"))?;
    let targets = makefile
        .lines()
        .find_map(|line| line.strip_prefix(".PHONY:"))
        .context("the Makefile has no .PHONY")?;
    let targets: BTreeSet<_> = targets.split_whitespace().collect();
    let mut unknown = Vec::new();
    for document in documents()? {
        for code in document
            .inline_code()
            .into_iter()
            .chain(document.code_lines(&["sh"]))
        {
            let mut words = code
                .text
                .split_whitespace()
                .skip_while(|word| word.contains('='));
            if words.next() == Some("make")
                && let Some(target) = words.next()
                && !targets.contains(target)
            {
                unknown.push(format!("{}: make {target}", document.at(code.line)));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    Ok(())
}

/// The words of a line, as a shell sees them: up to a comment, a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('#' | '>' | '|', None) if word.is_none() => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn flags(command: &Command, known: &mut BTreeSet<String>) {
    known.extend(
        command
            .get_arguments()
            .filter_map(|arg| arg.get_long().map(str::to_owned)),
    );
    for verb in command.get_subcommands() {
        flags(verb, known);
    }
}

/// A row for each verb that does something, with what its help says.
fn leaves(command: &Command, path: &str, rows: &mut Vec<String>) {
    if !command.has_subcommands() {
        let about = command
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        rows.push(format!("| `{}` | {about} |", path.trim()));
    }
    for verb in command.get_subcommands() {
        leaves(verb, &format!("{path} {}", verb.get_name()), rows);
    }
}

/// Flags of other programs.
const OTHERS: [&str; 2] = ["concurrency", "service-node"];
