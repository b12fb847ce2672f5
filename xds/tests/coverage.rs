//! Each statement of the protocol has a test: `coverage/statements.txt` says which, and this
//! checks that it is so. A test is found by its name, and counts if it runs by itself.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::{collections::BTreeMap, fs, path::Path};

/// The last numbers of the statements (X) and of the traps (T).
const LAST: [(char, u32); 2] = [('X', 54), ('T', 30)];

#[test]
fn each_statement_has_tests_that_exist_and_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("tests/coverage/statements.txt")).unwrap();
    let mut tests = BTreeMap::new();
    follow(&root.join("src/lib.rs"), &root.join("src"), &mut tests);
    let folder = root.join("tests");
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        if file.is_file() {
            follow(&file, &folder, &mut tests);
        }
    }
    let wrong = wrong(&listed(&table), &tests);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether a test runs without being asked for.
type Tests = BTreeMap<String, bool>;

/// By number: the names of the tests.
fn listed(table: &str) -> BTreeMap<String, Vec<String>> {
    let mut listed = BTreeMap::new();
    let mut number = String::new();
    for line in table
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if let Some(test) = line.strip_prefix("    ") {
            let tests: &mut Vec<String> = listed.entry(number.clone()).or_default();
            tests.push(test.to_owned());
        } else {
            number = line.split(' ').next().unwrap().to_owned();
        }
    }
    listed
}

fn wrong(listed: &BTreeMap<String, Vec<String>>, tests: &Tests) -> Vec<String> {
    let mut wrong = Vec::new();
    let numbers = LAST
        .into_iter()
        .flat_map(|(letter, last)| (1..=last).map(move |number| format!("{letter}{number:02}")));
    for number in numbers {
        let names = listed.get(&number).map_or(&[][..], Vec::as_slice);
        let own = format!("{}_", number.to_lowercase());
        if !names.iter().any(|name| name.starts_with(&own)) {
            wrong.push(format!("{number} lists no test that is named by it"));
        }
        for name in names {
            match tests.get(name) {
                None => wrong.push(format!("{number}: {name} does not exist")),
                Some(false) => wrong.push(format!("{number}: {name} does not run by itself")),
                Some(true) => {}
            }
        }
    }
    wrong
}

/// Enters the tests of a file and of those that it compiles, which lie in `folder` unless it
/// says otherwise.
fn follow(file: &Path, folder: &Path, tests: &mut Tests) {
    let source = fs::read_to_string(file).unwrap();
    for module in collect(&source, tests) {
        let (file, folder) = match &module.path {
            Some(path) => {
                let file = file.with_file_name(path);
                let folder = file.parent().unwrap().to_owned();
                (file, folder)
            }
            None => {
                let folder = folder.join(&module.name);
                (folder.with_extension("rs"), folder)
            }
        };
        follow(&file, &folder, tests);
    }
}

/// A module in a file of its own.
#[derive(Debug, Eq, PartialEq)]
struct Module {
    name: String,
    path: Option<String>,
}

/// Enters every function with a number for a name, with what its attributes say. Returns the
/// modules that lie elsewhere.
fn collect(source: &str, tests: &mut Tests) -> Vec<Module> {
    let mut modules = Vec::new();
    let mut attributes = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
            continue;
        }
        if line.starts_with("//") {
            continue;
        }
        if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split('(').next().unwrap_or_default();
            if is_numbered(name) {
                *tests.entry(name.to_owned()).or_insert(true) &= runs(&attributes);
            }
        } else if let Some(name) = module(line) {
            let path = attributes
                .iter()
                .find_map(|line| line.strip_prefix("#[path = \"")?.strip_suffix("\"]"));
            modules.push(Module {
                name: name.to_owned(),
                path: path.map(str::to_owned),
            });
        }
        attributes.clear();
    }
    modules
}

/// Whether a function with these attributes is a test that runs without being asked for.
fn runs(attributes: &[&str]) -> bool {
    let is_test = |line: &&str| *line == "#[test]" || line.starts_with("#[tokio::test");
    let is_ignored = |line: &&str| line.contains("ignore");
    attributes.iter().any(is_test) && !attributes.iter().any(is_ignored)
}

/// Of `mod name;`, with any visibility.
fn module(line: &str) -> Option<&str> {
    let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
    (before.is_empty() || before.starts_with("pub")).then_some(name)
}

fn is_numbered(name: &str) -> bool {
    let mut letters = name.chars();
    matches!(letters.next(), Some('x' | 't'))
        && letters.by_ref().take(2).all(|digit| digit.is_ascii_digit())
        && letters.next() == Some('_')
}

#[test]
fn a_test_that_is_missing_ignored_or_not_one_is_found_out() {
    let mut tests = Tests::new();
    let source = "#[test]\nfn x01_a() {\n#[test]\n#[ignore = \"slow\"]\nfn x02_b() {\nfn x03_c() {";
    collect(source, &mut tests);
    let all = listed(
        "# comment\nX01 one\n    x01_a\nX02 two\n    x02_b\nX03 three\n    x03_c\nX04 four\n    x05_d\n",
    );
    let wrong = wrong(&all, &tests);
    let about = |number: &str| wrong.iter().filter(|line| line.starts_with(number)).count();
    assert_eq!(
        (about("X01"), about("X02"), about("X03"), about("X04")),
        (0, 1, 1, 2)
    );
    assert_eq!(about("T30"), 1);
}

#[test]
fn a_function_that_is_only_compiled_for_tests_is_none() {
    let mut tests = Tests::new();
    let source = "#[cfg(test)]\nfn x01_a() {\n#[tokio::test(flavor = \"multi_thread\")]\nasync fn x02_b() {\n#[test_case]\nfn x03_c() {";
    collect(source, &mut tests);
    let runs = |name: &str| tests[name];
    assert!(!runs("x01_a") && runs("x02_b") && !runs("x03_c"));
}

#[test]
fn a_file_counts_only_if_a_module_compiles_it() {
    let source = "mod a;\npub(crate) mod b;\n#[path = \"c/d.rs\"]\n#[expect(dead_code)]\nmod d;\n// mod e;\nmod f {";
    let modules = collect(source, &mut Tests::new());
    let names = modules.iter().map(|module| &*module.name);
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!(modules[2].path.as_deref(), Some("c/d.rs"));
}
