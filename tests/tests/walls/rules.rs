//! What a folder must not name. Each rule returns one line per breach: file, line, name.

use super::{
    arrows::End,
    source::{Module, Source},
    sql::is_sql,
};

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
    let placed = module.globs.iter().chain(&module.references);
    let placed = placed.map(|found| (found.path.clone(), found.line));
    imports.chain(placed).collect()
}

fn breach(module: &Module, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", module.file)
}

/// The paths outside of `allowed` that end where `banned` says.
fn ends(source: &Source, allowed: &[&str], banned: &dyn Fn(&End) -> bool) -> Vec<String> {
    let modules = source.modules.iter();
    let modules = modules.filter(|(_, module)| !within(module, allowed));
    modules
        .flat_map(|(at, module)| {
            let named = paths(module).into_iter();
            named
                .filter(|(path, _)| source.end_of(at, path).is_some_and(|end| banned(&end)))
                .map(|(path, line)| breach(module, line, &path.join("::")))
        })
        .collect()
}

/// The path that an end has in another crate.
fn outside(end: &End) -> &[String] {
    match end {
        End::Outside(path) => path,
        End::Item(_) | End::Module(_) => &[],
    }
}

/// What stands in the folder `providers` of `source` and is named outside of it.
pub(crate) fn providers(source: &Source) -> Vec<String> {
    ends(source, &["providers"], &is_provider)
}

/// What stands in the folder `providers` of the crate `name`, which is `of`, and is named in
/// `source` outside of the file `composition`. What that file passes on is its own.
pub(crate) fn providers_of(
    (name, of): (&str, &Source),
    source: &Source,
    composition: &str,
) -> Vec<String> {
    let source = source.with_own(composition);
    ends(&source, &[composition], &|end| {
        let Some((crate_name, path)) = outside(end).split_first() else {
            return false;
        };
        crate_name == name && of.end_of(&[], path).is_some_and(|end| is_provider(&end))
    })
}

fn is_provider(end: &End) -> bool {
    match end {
        End::Item(module) | End::Module(module) => {
            module.first().is_some_and(|name| name == "providers")
        }
        End::Outside(_) => false,
    }
}

/// PostgreSQL drivers named outside of `allowed`.
pub(crate) fn drivers(source: &Source, allowed: &[&str]) -> Vec<String> {
    ends(source, allowed, &|end| {
        let name = outside(end).first();
        name.is_some_and(|name| DRIVERS.contains(&name.as_str()))
    })
}

/// SQL in string literals outside of `allowed`, and texts of other files, which may hold it.
pub(crate) fn statements(source: &Source, allowed: &[&str]) -> Vec<String> {
    let modules = source.modules.values();
    let modules = modules.filter(|module| !within(module, allowed));
    modules
        .flat_map(|module| {
            let texts = module.texts.iter().filter(|text| is_sql(&text.value));
            let texts = texts.map(|text| breach(module, text.line, &text.value));
            let included = module.includes.iter();
            let included = included.map(|&line| breach(module, line, "the text of another file"));
            texts.chain(included)
        })
        .collect()
}

/// Clocks named in `places`, the port apart.
pub(crate) fn clocks(source: &Source, places: &[&str]) -> Vec<String> {
    ends_where(source, &|module| within(module, places), &is_clock)
}

/// The clock of the operating system, behind the port or not, outside of `allowed`.
pub(crate) fn system_clocks(source: &Source, allowed: &[&str]) -> Vec<String> {
    ends_where(source, &|module| !within(module, allowed), &|path| {
        path.iter().any(|name| name == "SystemClock")
    })
}

/// A path as it is written, and as it is in the crate that it leads to.
fn ends_where(
    source: &Source,
    holds: &dyn Fn(&Module) -> bool,
    banned: &dyn Fn(&[String]) -> bool,
) -> Vec<String> {
    let modules = source.modules.iter();
    let modules = modules.filter(|(_, module)| holds(module));
    modules
        .flat_map(|(at, module)| {
            let named = paths(module).into_iter();
            named
                .filter(|(path, _)| {
                    let end = source.end_of(at, path);
                    banned(path) || end.is_some_and(|end| banned(outside(&end)))
                })
                .map(|(path, line)| breach(module, line, &path.join("::")))
        })
        .collect()
}

fn is_clock(path: &[String]) -> bool {
    let names: Vec<_> = path.iter().map(String::as_str).collect();
    match names.as_slice() {
        ["tokio", "time", ..] => true,
        ["std", "time", "Duration", ..] => false,
        ["std", "time", ..] => true,
        [.., kind, "now"] => CLOCKS.contains(kind),
        _ => false,
    }
}

const DRIVERS: &[&str] = &[
    "tokio_postgres",
    "tokio_postgres_rustls",
    "postgres",
    "postgres_protocol",
    "postgres_types",
];
const CLOCKS: &[&str] = &["UnixMillis", "Instant", "SystemTime", "Timestamp", "Zoned"];
