//! The walls inside the crates: which folder may name what, and no circle of files.
//! Tests are left out: they may reach for anything.

#[path = "walls/arrows.rs"]
mod arrows;
#[path = "walls/rules.rs"]
mod rules;
#[path = "walls/source.rs"]
mod source;
#[path = "walls/sql.rs"]
mod sql;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use arrows::{Arrows, circles};
use rules::{clocks, drivers, providers, providers_of, statements, system_clocks};
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

/// A part that takes its whole from the file above it, and is used by that file. The rest of the
/// wall looks past this arrow. See `docs/decisions/0024-no-circle-through-a-root.md`.
struct Part {
    package: &'static str,
    part: &'static str,
    whole: &'static str,
}

const PARTS: &[Part] = &[
    Part {
        package: "xds",
        part: "fleet/connection.rs",
        whole: "fleet.rs",
    },
    Part {
        package: "xds",
        part: "resource/encoded.rs",
        whole: "resource.rs",
    },
    Part {
        package: "xds",
        part: "snapshot/completion.rs",
        whole: "snapshot.rs",
    },
];

fn no_circles(package: &str) -> Result<()> {
    let mut arrows = load(package)?.arrows();
    ensure!(!arrows.is_empty(), "{package} has no arrows");
    for Part { part, whole, .. } in PARTS.iter().filter(|part| part.package == package) {
        let known =
            |from: &str, to: &str| arrows.get(from).is_some_and(|known| known.contains_key(to));
        ensure!(
            known(part, whole) && known(whole, part),
            "{part} and {whole} of {package} use each other no longer: take them off the list"
        );
        arrows.entry((*part).to_owned()).or_default().remove(*whole);
    }
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
fn no_provider_is_named_outside_of_the_providers_and_the_two_compositions() -> Result<()> {
    let cutover = load("cutover")?;
    let mut found = providers(&cutover);
    let program = load("pointsman")?;
    let of = ("pointsman_cutover", &cutover);
    found.extend(providers_of(of, &program, "providers"));
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
    found.extend(drivers(&load("catalog")?, &[]));
    expect_none(&found, "a PostgreSQL driver outside of cutover's providers")
}

#[test]
fn what_decides_by_time_asks_no_clock_but_the_port() -> Result<()> {
    let mut found = clocks(&load("cutover")?, CLOCKED_OF_THE_SWITCH);
    found.extend(clocks(&load("pointsman")?, CLOCKED_OF_THE_PROGRAM));
    expect_none(&found, "a clock other than the port")
}

/// The verb `recover` runs without a control plane, and puts together what it needs.
#[test]
fn only_the_composition_makes_the_systems_clock() -> Result<()> {
    let mut found = system_clocks(&load("cutover")?, &["ports", "ports/clock"]);
    let composition = ["serve/control_plane", "cli/recover"];
    found.extend(system_clocks(&load("pointsman")?, &composition));
    expect_none(
        &found,
        "the system's clock is named where only the port may be",
    )
}

/// All but the providers, whose servers have clocks of their own.
const CLOCKED_OF_THE_SWITCH: &[&str] = &[
    "checks",
    "engine",
    "journal",
    "lease",
    "machine",
    "migration",
    "ports/alarm",
    "ports/data_plane",
    "ports/database",
    "ports/evidence",
    "preflight",
    "steps",
];

/// The parts of the program that time holds, barriers, probes and alarms, and what is known of members.
const CLOCKED_OF_THE_PROGRAM: &[&str] = &[
    "admin/fleet/group",
    "admin/fleet/watch",
    "alarms",
    "flip",
    "publish/access_denials",
    "publish/data_plane",
    "publish/hold_timer",
    "publish/probe_schedule",
    "publish/registry",
    "publish/rehearsal",
    "telemetry",
];

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
fn a_file_and_its_root_are_a_circle_and_so_is_a_longer_one() -> Result<()> {
    let source = small(&[
        ("lib.rs", "mod a; mod b; fn f() { a::f(); }"),
        ("a.rs", "mod part; pub fn f() { part::g(); } pub struct A;"),
        ("a/part.rs", "use super::A; pub fn g() { crate::b::h(); }"),
        ("b.rs", "pub fn h() { crate::f(); }"),
    ])?;
    let whole = [["a.rs", "a/part.rs", "b.rs", "lib.rs"]];
    assert_eq!(circles(&source.arrows()), whole);
    let source = small(&[
        ("lib.rs", "mod a;"),
        ("a.rs", "mod part; fn f() { part::g(); } pub struct A;"),
        ("a/part.rs", "use super::A; pub fn g() {}"),
    ])?;
    assert_eq!(circles(&source.arrows()), [["a.rs", "a/part.rs"]]);
    Ok(())
}

#[test]
fn a_function_is_found_behind_a_module_of_its_name() -> Result<()> {
    let source = small(&[
        ("lib.rs", "mod a;"),
        ("a.rs", "mod b; fn f() { b::forward(); } pub struct A;"),
        (
            "a/b.rs",
            "mod forward; pub(super) use forward::run as forward;",
        ),
        ("a/b/forward.rs", "use crate::a::A; pub(crate) fn run() {}"),
    ])?;
    assert_eq!(circles(&source.arrows()), [["a.rs", "a/b/forward.rs"]]);
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

/// `code` in a step of a crate whose root and providers pass names on.
fn step(code: &str) -> Result<Source> {
    small(&[
        (
            "lib.rs",
            "mod engine; mod ports; mod providers; mod steps; pub use providers::sql::Passed;",
        ),
        ("engine.rs", "pub use crate::providers as doors;"),
        ("ports.rs", "pub struct SystemClock; pub trait Clock {}"),
        ("providers.rs", "pub mod sql;"),
        ("providers/sql.rs", "pub struct Sql; pub struct Passed;"),
        ("steps.rs", code),
    ])
}

/// What a rule finds in [`step`], without what it finds elsewhere.
fn in_step(code: &str, rule: impl Fn(&Source) -> Vec<String>) -> Result<usize> {
    let found = rule(&step(code)?);
    Ok(found
        .iter()
        .filter(|line| line.starts_with("steps.rs:"))
        .count())
}

#[test]
fn a_provider_is_found_by_whatever_name_it_is_taken() -> Result<()> {
    for code in [
        "use crate::providers::sql::Sql;",
        "use crate::providers::sql::*;",
        "use crate::{engine, providers::{self}};",
        "use crate::Passed;",
        "fn f() { crate::Passed; }",
        "use crate::engine::doors::sql::Sql as Other;",
        "fn f() { m!(crate::providers::sql::Sql::new()); }",
    ] {
        assert_eq!(in_step(code, providers)?, 1, "{code}");
    }
    for code in [
        "use crate::ports::Clock;",
        "fn f(ports: P) { ports.providers.of(server) }",
        "fn f() { other::providers::Sql; }",
    ] {
        assert_eq!(in_step(code, providers)?, 0, "{code}");
    }
    let passed_on = providers(&step("")?);
    assert_eq!(passed_on.len(), 2, "{passed_on:?}");
    Ok(())
}

#[test]
fn a_provider_is_found_in_the_program_too() -> Result<()> {
    let of = step("")?;
    for (code, expected) in [
        ("use switch::providers::sql::Sql;", 1),
        ("use switch::{ports::Clock, providers::sql};", 1),
        ("use switch::Passed;", 1),
        ("use switch as s; fn f() { s::providers::sql::Sql; }", 1),
        ("use switch::ports::Clock;", 0),
        ("use crate::providers::{Named, all};", 0),
    ] {
        let program = small(&[
            ("lib.rs", "mod cli; mod providers;"),
            ("cli.rs", code),
            (
                "providers.rs",
                "use switch::providers::sql::Sql; pub fn all() {} pub use switch::providers::Named;",
            ),
        ])?;
        let found = providers_of(("switch", &of), &program, "providers");
        assert_eq!(found.len(), expected, "{code}: {found:?}");
    }
    Ok(())
}

#[test]
fn a_driver_is_found_by_each_of_its_crates() -> Result<()> {
    for code in [
        "use tokio_postgres::Client;",
        "use tokio_postgres as other;",
        "fn f() { tokio_postgres_rustls::MakeRustlsConnect::new(config); }",
        "fn f() { m!(postgres_types::Type::INT4); }",
    ] {
        let rule = |source: &Source| drivers(source, &["providers"]);
        assert_eq!(in_step(code, rule)?, 1, "{code}");
    }
    Ok(())
}

#[test]
fn a_clock_is_found_however_it_is_asked() -> Result<()> {
    for code in [
        "use tokio::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "fn f() { UnixMillis::now(); }",
        "fn f() { jiff::Timestamp::now(); }",
        "fn f() { tokio::time::sleep(d); }",
        "use tokio as runtime; fn f() { runtime::time::sleep(d); }",
        "fn f() { select!(() = tokio::time::sleep(d) => {}); }",
    ] {
        let rule = |source: &Source| clocks(source, &["steps"]);
        assert_eq!(in_step(code, rule)?, 1, "{code}");
    }
    for code in [
        "use crate::ports::SystemClock;",
        "use crate::ports::SystemClock as Other;",
        "fn f() { crate::ports::SystemClock::default().now(); }",
        "fn f() { m!(crate::ports::SystemClock::default().now()); }",
    ] {
        let rule = |source: &Source| system_clocks(source, &["ports"]);
        assert_eq!(in_step(code, rule)?, 1, "{code}");
    }
    let rule = |source: &Source| clocks(source, &["steps"]);
    assert_eq!(in_step("use std::time::Duration;", rule)?, 0);
    Ok(())
}

#[test]
fn sql_is_found_in_capitals_and_in_small_letters() -> Result<()> {
    let rule = |source: &Source| statements(source, &["providers"]);
    for text in [
        "SELECT 1",
        "SELECT\\n  datname FROM pg_database",
        "\\t ALTER DATABASE {name}",
        "select datname from pg_database",
        "select pg_promote()",
        "update t set a = 1",
        "drop table t",
        "VACUUM",
        "DO $$ BEGIN END $$",
        "CHECKPOINT",
        "EXPLAIN ANALYZE SELECT 1",
        "{prefix} SELECT 1 FROM t",
    ] {
        assert_eq!(
            in_step(&format!("const Q: &str = \"{text}\";"), rule)?,
            1,
            "{text}"
        );
        assert_eq!(
            in_step(&format!("fn f() {{ g!(\"{text}\"); }}"), rule)?,
            1,
            "{text}"
        );
    }
    for code in [
        "const Q: &str = include_str!(\"q.sql\");",
        "const Q: &str = concat!(include_str!(\"q.sql\"), \"\");",
    ] {
        assert_eq!(in_step(code, rule)?, 1, "{code}");
    }
    for text in [
        "select a server",
        "set by the operator",
        "",
        "Selected from",
        "with a lease",
    ] {
        assert_eq!(
            in_step(&format!("const T: &str = \"{text}\";"), rule)?,
            0,
            "{text}"
        );
    }
    Ok(())
}
