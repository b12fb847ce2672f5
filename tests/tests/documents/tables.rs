//! The tables of the documents that repeat what the code has.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
};

use anyhow::{Context as _, Result, ensure};
use pointsman_cutover::{
    ChoiceName,
    machine::{Event, State, Step},
    providers::postgres::RIGHTS,
};

use super::markdown::{Document, files, root};

/// The names in the first column of a table, without their backticks.
fn names(path: &str, header: &[&str]) -> Result<Vec<String>> {
    let rows = Document::read(path)?.table(header)?;
    Ok(rows.iter().map(|row| row[0].replace('`', "")).collect())
}

/// The program's sources below `folder`.
fn sources(folder: &str) -> Result<Vec<String>> {
    let paths = files()?.into_iter().filter(|path| path.starts_with(folder));
    let texts = paths.map(|path| fs::read_to_string(root().join(path)).context("a source"));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    ensure!(!texts.is_empty(), "nothing is in {folder}");
    Ok(texts)
}

/// The string literals that follow `before` in `source`.
fn literals<'a>(source: &'a str, before: &str) -> BTreeSet<&'a str> {
    let opened = format!("{before}\"");
    source
        .split(opened.as_str())
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

#[test]
fn the_steps_of_a_switch_are_those_of_the_machine() -> Result<()> {
    let steps = names("docs/operations.md", &["step", "does", "if it fails"])?;
    assert_eq!(steps, Step::ALL.map(Step::label));
    Ok(())
}

#[test]
fn the_states_of_a_migration_are_those_that_the_machine_reaches() -> Result<()> {
    let mut reached = BTreeSet::from([State::Planned.label()]);
    let mut seen = HashSet::from([State::Planned]);
    let mut open = vec![State::Planned];
    while let Some(state) = open.pop() {
        for next in Event::ALL
            .into_iter()
            .filter_map(|event| state.apply(event).ok())
        {
            if seen.insert(next) {
                reached.insert(next.label());
                open.push(next);
            }
        }
    }
    let listed = names(
        "docs/operations.md",
        &["state", "what is true", "what you can do"],
    )?;
    assert_eq!(
        listed.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        reached
    );
    Ok(())
}

#[test]
fn the_choices_of_an_operator_are_those_of_the_engine() -> Result<()> {
    let listed = names("docs/operations.md", &["choice", "what happens"])?;
    assert_eq!(listed, ChoiceName::ALL.map(ChoiceName::as_str));
    Ok(())
}

#[test]
fn the_states_of_a_sidecar_are_those_of_the_program() -> Result<()> {
    let listed = names("docs/operations.md", &["state", "means", "do"])?;
    let sources = sources("pointsman/src")?;
    let labels = sources
        .iter()
        .find_map(|source| source[source.find("=> \"SYNCED\"")?..].split('}').next())
        .context("no source prints SYNCED")?;
    let listed: BTreeSet<_> = listed.iter().map(String::as_str).collect();
    assert_eq!(listed, literals(labels, "=> "));
    Ok(())
}

#[test]
fn the_alarm_sources_are_those_of_the_program() -> Result<()> {
    let listed = names("docs/operations.md", &["alarm source", "watches", "fires"])?;
    let sources = sources("pointsman/src/alarms")?;
    let known: BTreeSet<_> = sources
        .iter()
        .flat_map(|source| literals(source, "NAME: &str = "))
        .collect();
    assert_eq!(
        listed.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
    Ok(())
}

#[test]
fn the_rights_are_those_that_preflight_looks_for() -> Result<()> {
    let header = ["right", "needed by", "granted by", "finding", "without it"];
    let listed = Document::read("docs/preflight.md")?.table(&header)?;
    let known: Vec<_> = RIGHTS
        .iter()
        .map(|right| {
            let finding = format!("{}, {}", right.check, right.without.as_str());
            [
                right.action,
                right.needed_by,
                right.grant,
                &finding,
                right.given_up,
            ]
            .map(str::to_owned)
        })
        .collect();
    let rows: Vec<_> = known
        .iter()
        .map(|row| format!("| {} |", row.join(" | ")))
        .collect();
    assert!(
        listed == known,
        "the table of rights in docs/preflight.md is to be:\n{}",
        rows.join("\n")
    );
    Ok(())
}

#[test]
fn every_column_that_is_explained_is_printed() -> Result<()> {
    let sources = sources("pointsman/src/cli")?;
    for column in names("docs/operations.md", &["column", "counts", "from"])? {
        let printed = sources
            .iter()
            .any(|source| source.contains(&format!("\"{column}\"")));
        assert!(printed, "{column}");
    }
    Ok(())
}

#[test]
fn the_features_of_the_xds_library_are_those_of_its_manifest() -> Result<()> {
    let manifest = fs::read_to_string(root().join("xds/Cargo.toml"))?;
    let section = manifest
        .lines()
        .skip_while(|line| *line != "[features]")
        .skip(1);
    let declared: BTreeSet<_> = section
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .filter(|name| *name != "default")
        .map(str::to_owned)
        .collect();
    let listed = names("xds/README.md", &["feature", "default"])?;
    assert_eq!(BTreeSet::from_iter(listed), declared);
    Ok(())
}
