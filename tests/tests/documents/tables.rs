//! The tables of the documents that repeat what the code has.

use anyhow::Result;
use pointsman_cutover::machine::Step;

use super::markdown::Document;

/// The names in the first column of a table, without their backticks.
fn names(path: &str, header: &[&str]) -> Result<Vec<String>> {
    let rows = Document::read(path)?.table(header)?;
    Ok(rows.iter().map(|row| row[0].replace('`', "")).collect())
}

#[test]
fn the_steps_of_a_switch_are_those_of_the_machine() -> Result<()> {
    let steps = names("docs/operations.md", &["step", "does", "if it fails"])?;
    assert_eq!(steps, Step::ALL.map(Step::label));
    Ok(())
}
