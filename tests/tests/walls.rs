//! The walls inside the crates: which folder may name what, and no circle of files.
//! Tests are left out: they may reach for anything.

#[path = "walls/arrows.rs"]
mod arrows;
#[path = "walls/rules.rs"]
mod rules;
#[path = "walls/source.rs"]
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use arrows::{Arrows, circles};
use rules::{clocks, drivers, providers, statements};
use source::Source;

fn sources_of(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(package)
        .join("src")
}

fn load(package: &str) -> Result<Source> {
    let folder = sources_of(package);
    let source = Source::load("lib.rs", &|file| Ok(fs::read_to_string(folder.join(file))?))?;
    ensure!(source.modules.len() > 1, "{package} has no modules");
    Ok(source)
}

/// A crate of a few files, as text.
fn small(files: &[(&str, &str)]) -> Result<Source> {
    Source::load("lib.rs", &|wanted| {
        let found = files.iter().find(|(name, _)| *name == wanted);
        let (_, text) = found.with_context(|| format!("no {wanted}"))?;
        Ok((*text).to_owned())
    })
}

fn expect_none(found: &[String], rule: &str) -> Result<()> {
    ensure!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
    Ok(())
}

fn describe(circle: &[String], arrows: &Arrows) -> String {
    let mut lines = vec![format!("{} files:", circle.len())];
    for from in circle {
        for (to, names) in arrows.get(from).into_iter().flatten() {
            if circle.contains(to) {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                lines.push(format!("    {from} -> {to}: {}", names.join(", ")));
            }
        }
    }
    lines.join("\n")
}

fn no_circles(package: &str) -> Result<()> {
    let arrows = load(package)?.arrows();
    ensure!(!arrows.is_empty(), "{package} has no arrows");
    let circles: Vec<_> = circles(&arrows)
        .iter()
        .map(|circle| describe(circle, &arrows))
        .collect();
    expect_none(&circles, &format!("circles of files in {package}"))
}

#[test]
fn no_files_of_the_switch_form_a_circle() -> Result<()> {
    no_circles("cutover")
}

#[test]
fn no_files_of_the_program_form_a_circle() -> Result<()> {
    no_circles("pointsman")
}

#[test]
fn no_files_of_the_xds_library_form_a_circle() -> Result<()> {
    no_circles("xds")
}

#[test]
fn no_files_of_the_catalogue_form_a_circle() -> Result<()> {
    no_circles("catalog")
}

#[test]
fn no_files_of_the_rendering_form_a_circle() -> Result<()> {
    no_circles("envoy-config")
}

#[test]
fn engine_steps_and_checks_import_no_provider() -> Result<()> {
    let found = providers(&load("cutover")?, &["engine", "steps", "checks", "machine"]);
    expect_none(&found, "a provider is named where only ports may be")
}

#[test]
fn no_sql_stands_outside_of_the_providers() -> Result<()> {
    let mut found = statements(&load("cutover")?, &["providers"]);
    found.extend(statements(&load("pointsman")?, &[]));
    found.extend(statements(&load("catalog")?, &[]));
    expect_none(&found, "SQL outside of cutover's providers")
}

#[test]
fn no_postgresql_driver_is_named_outside_of_the_providers() -> Result<()> {
    let mut found = drivers(&load("cutover")?, &["providers"]);
    found.extend(drivers(&load("pointsman")?, &[]));
    expect_none(&found, "a PostgreSQL driver outside of cutover's providers")
}

#[test]
fn engine_steps_holds_and_alarms_ask_no_clock_but_the_port() -> Result<()> {
    let mut found = clocks(&load("cutover")?, &["engine", "steps", "machine", "checks"]);
    found.extend(clocks(&load("pointsman")?, CLOCKED));
    expect_none(&found, "a clock other than the port")
}

/// The parts of the program that time holds, probes and alarms.
const CLOCKED: &[&str] = &["alarms", "publish/hold_timer", "publish/probe_schedule"];

#[test]
fn two_files_that_use_each_other_are_a_circle() -> Result<()> {
    let source = small(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; fn f() { super::a::A; }"),
    ])?;
    assert_eq!(circles(&source.arrows()), [["a.rs", "b.rs"]]);
    Ok(())
}

#[test]
fn a_name_counts_for_the_file_that_defines_it() -> Result<()> {
    let source = small(&[
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::*;"),
        ("a.rs", "use crate::B; pub struct A(B);"),
        ("b.rs", "pub struct B;"),
    ])?;
    assert_eq!(circles(&source.arrows()), Vec::<Vec<String>>::new());
    assert!(source.arrows()["a.rs"].contains_key("b.rs"));
    assert!(!source.arrows()["a.rs"].contains_key("lib.rs"));
    Ok(())
}

#[test]
fn tests_may_reach_for_anything() -> Result<()> {
    let source = small(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        (
            "b.rs",
            "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }",
        ),
    ])?;
    assert_eq!(circles(&source.arrows()), Vec::<Vec<String>>::new());
    Ok(())
}

#[test]
fn each_rule_finds_what_it_forbids() -> Result<()> {
    let source = small(&[
        ("lib.rs", "mod engine; mod providers;"),
        (
            "engine.rs",
            "use crate::providers::Sql; use tokio::time::Instant;
             fn f() { run(\"SELECT 1\"); g!(\"ALTER DATABASE {name}\"); UnixMillis::now();
                 tokio::time::sleep(d); tokio_postgres::connect(); say(\"select a server\"); }",
        ),
        (
            "providers.rs",
            "pub struct Sql; const Q: &str = \"SELECT 1\";",
        ),
    ])?;
    let only = &["engine"];
    assert_eq!(providers(&source, only).len(), 1);
    assert_eq!(statements(&source, &["providers"]).len(), 2);
    assert_eq!(drivers(&source, &["providers"]).len(), 1);
    assert_eq!(clocks(&source, only).len(), 3);
    Ok(())
}
