//! What a folder must not name. Each rule returns one line per breach: file, line, name.

use super::source::{Module, Source};

/// Whether `module` is one of the folders or files `places`, or lies below one.
fn within(module: &Module, places: &[&str]) -> bool {
    let file = module.file.trim_end_matches(".rs");
    places.iter().any(|place| {
        file.strip_prefix(place)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Every path that a module names, with its line.
fn paths(module: &Module) -> Vec<(Vec<String>, usize)> {
    let imports = module.imports.iter().map(|(name, path)| {
        let line = module.import_lines.get(name).copied().unwrap_or_default();
        (path.clone(), line)
    });
    let globs = module.globs.iter().map(|path| (path.clone(), 0));
    let references = module.references.iter();
    let references = references.map(|found| (found.path.clone(), found.line));
    imports.chain(globs).chain(references).collect()
}

fn breach(module: &Module, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", module.file)
}

/// Providers named in `places`.
pub(crate) fn providers(source: &Source, places: &[&str]) -> Vec<String> {
    let modules = source.modules.values();
    let modules = modules.filter(|module| within(module, places));
    modules
        .flat_map(|module| {
            let named = paths(module).into_iter();
            named
                .filter(|(path, _)| path.iter().any(|part| part == "providers"))
                .map(|(path, line)| breach(module, line, &path.join("::")))
        })
        .collect()
}

/// PostgreSQL drivers named outside of `allowed`.
pub(crate) fn drivers(source: &Source, allowed: &[&str]) -> Vec<String> {
    let modules = source.modules.values();
    let modules = modules.filter(|module| !within(module, allowed));
    modules
        .flat_map(|module| {
            let named = paths(module).into_iter();
            named
                .filter(|(path, _)| DRIVERS.contains(&path[0].as_str()))
                .map(|(path, line)| breach(module, line, &path.join("::")))
        })
        .collect()
}

/// SQL in string literals outside of `allowed`.
pub(crate) fn statements(source: &Source, allowed: &[&str]) -> Vec<String> {
    let modules = source.modules.values();
    let modules = modules.filter(|module| !within(module, allowed));
    modules
        .flat_map(|module| {
            let texts = module.texts.iter().filter(|text| is_sql(&text.value));
            texts.map(|text| breach(module, text.line, &text.value))
        })
        .collect()
}

/// SQL is written with its key words in capitals here; prose begins a sentence otherwise.
fn is_sql(text: &str) -> bool {
    let text = text.trim_start();
    STATEMENTS.iter().any(|start| text.starts_with(start))
        || (text.contains("SELECT ") && text.contains(" FROM "))
        || text.contains("pg_catalog.")
}

/// Clocks named in `places`, the port apart.
pub(crate) fn clocks(source: &Source, places: &[&str]) -> Vec<String> {
    let modules = source.modules.values();
    let modules = modules.filter(|module| within(module, places));
    modules
        .flat_map(|module| {
            let named = paths(module).into_iter();
            named
                .filter(|(path, _)| is_clock(path))
                .map(|(path, line)| breach(module, line, &path.join("::")))
        })
        .collect()
}

fn is_clock(path: &[String]) -> bool {
    let names: Vec<_> = path.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["tokio", "time", ..] => true,
        ["std", "time", rest @ ..] => rest != ["Duration"],
        ["jiff", .., "now"] => true,
        [.., kind, "now"] => CLOCKS.contains(kind),
        _ => false,
    }
}

const DRIVERS: &[&str] = &["tokio_postgres", "postgres_protocol", "postgres_types"];
const CLOCKS: &[&str] = &["UnixMillis", "Instant", "SystemTime", "Timestamp", "Zoned"];
const STATEMENTS: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "UPDATE ",
    "DELETE FROM ",
    "TRUNCATE ",
    "ALTER DATABASE ",
    "ALTER ROLE ",
    "ALTER SUBSCRIPTION ",
    "ALTER SYSTEM ",
    "ALTER TABLE ",
    "ALTER PUBLICATION ",
    "CREATE ",
    "DROP ",
    "COPY ",
    "GRANT ",
    "REVOKE ",
    "SET ",
    "SHOW ",
    "WITH ",
    "BEGIN",
    "COMMIT",
    "CALL ",
    "LOCK TABLE ",
];
