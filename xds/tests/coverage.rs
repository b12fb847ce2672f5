//! Each statement of the protocol has a test: `coverage/statements.txt` says which, and this
//! checks that it is so. A test is found by its name, and counts if it runs by itself.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The last numbers of the statements (X) and of the traps (T).
const LAST: [(char, u32); 2] = [('X', 54), ('T', 30)];

#[test]
fn each_statement_has_tests_that_exist_and_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("tests/coverage/statements.txt")).unwrap();
    let mut tests = BTreeMap::new();
    for folder in ["src", "tests"] {
        for file in sources(&root.join(folder)) {
            collect(&fs::read_to_string(&file).unwrap(), &mut tests);
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

/// Enters every function with a number for a name, with what its attributes say.
fn collect(source: &str, tests: &mut Tests) {
    let mut attributes = String::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push_str(line);
        } else if let Some((_, rest)) = line.split_once("fn ") {
            let name = rest.split('(').next().unwrap_or_default();
            let runs = attributes.contains("test") && !attributes.contains("ignore");
            if is_numbered(name) {
                *tests.entry(name.to_owned()).or_insert(true) &= runs;
            }
            attributes.clear();
        } else if !line.starts_with("//") {
            attributes.clear();
        }
    }
}

fn is_numbered(name: &str) -> bool {
    let mut letters = name.chars();
    matches!(letters.next(), Some('x' | 't'))
        && letters.by_ref().take(2).all(|digit| digit.is_ascii_digit())
        && letters.next() == Some('_')
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
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
