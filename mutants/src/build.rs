use std::{ops::Range, path::PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{copy::LeanCopy, judgement::Judge};

/// What cargo made.
#[derive(Debug)]
pub(crate) enum Built {
    Program(PathBuf),
    Refused(Vec<CompilerError>),
}

/// Why something cannot be built.
#[derive(Debug)]
pub(crate) struct CompilerError {
    pub(crate) said: String,
    /// Files, from the copy's root, with the bytes that it is about.
    pub(crate) places: Vec<(String, Range<usize>)>,
}

/// Builds what a judge runs. Always for the whole workspace: cargo builds the dependencies anew for each
/// other selection.
pub(crate) fn build(copy: &LeanCopy, judge: Judge) -> Result<Built> {
    let what: &[&str] = match judge {
        Judge::Units => &[
            "test",
            "--no-run",
            "--lib",
            "--exclude=pointsman-simulate",
            "--exclude=pointsman-lab",
            "--exclude=pointsman-catalog",
        ],
        Judge::Servers => &["test", "--no-run", "--test=provider"],
        Judge::Simulation => &["build", "--bin=simulate"],
    };
    match cargo(copy, what)? {
        (true, Some(program), _) => Ok(Built::Program(program)),
        (true, None, _) => bail!("cargo says of no program that it is {}", judge.label()),
        (false, _, errors) => Ok(Built::Refused(errors)),
    }
}

fn cargo(
    copy: &LeanCopy,
    arguments: &[&str],
) -> Result<(bool, Option<PathBuf>, Vec<CompilerError>)> {
    let mut cargo = copy.command("cargo");
    cargo.args(arguments);
    cargo.args([
        "--workspace",
        "--offline",
        "--quiet",
        "--message-format=json",
    ]);
    let output = cargo.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let (mut program, mut errors) = (None, Vec::new());
    for message in messages {
        let is_hollow = !PROGRAMS
            .iter()
            .any(|name| message["target"]["name"] == *name);
        if let Some(path) = message["executable"].as_str().filter(|_| !is_hollow) {
            program = Some(PathBuf::from(path));
        }
        let said = &message["message"];
        if said["level"] == "error" {
            errors.push(error(said));
        }
    }
    // The last one only says how many there were.
    errors.retain(|error| !error.places.is_empty());
    let succeeded = output.status.success();
    if !succeeded && errors.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cargo {}: {}", arguments.join(" "), said.trim());
    }
    Ok((succeeded, program, errors))
}

/// What judges run, by the names of their targets.
const PROGRAMS: [&str; 3] = ["pointsman_cutover", "provider", "simulate"];

fn error(said: &Value) -> CompilerError {
    let spans = said["spans"].as_array().into_iter().flatten();
    let places = spans.filter_map(|span| {
        let at = |name: &str| usize::try_from(span[name].as_u64()?).ok();
        let file = span["file_name"].as_str()?.to_owned();
        Some((file, at("byte_start")?..at("byte_end")?))
    });
    CompilerError {
        said: said["message"].as_str().unwrap_or_default().to_owned(),
        places: places.collect(),
    }
}
