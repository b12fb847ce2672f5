use std::{cmp::Reverse, collections::BTreeMap, ops::Range};

use anyhow::Result;

use crate::{
    list::{Genre, Mutant},
    places::Places,
};

/// A file with its mutants in it, each behind its number: it is built once for all of them.
#[derive(Debug, Default)]
pub(crate) struct Woven {
    pub(crate) text: String,
    /// What each number put into the text.
    pub(crate) put: Vec<(usize, Range<usize>)>,
    /// Those that only the compiler could decide.
    pub(crate) apart: Vec<usize>,
}

/// What is done at a range of the file. One that is empty is an insertion.
#[derive(Debug, Default)]
struct Change {
    /// Expressions in place of this one.
    instead: Vec<(usize, String)>,
    inserted: Vec<(usize, String)>,
}

/// Where a change begins, insertions first, and those that reach farther before those inside.
type Key = (usize, bool, Reverse<usize>);

impl Woven {
    /// Weaves the mutants of one file into its text.
    pub(crate) fn of(file: &str, mutants: &[(usize, &Mutant)]) -> Result<Self> {
        let places = Places::of(file)?;
        let mut changes = BTreeMap::<Key, Change>::new();
        let mut woven = Self::default();
        for &(number, mutant) in mutants {
            match place(file, mutant, &places)? {
                Some((range, instead)) if range.is_empty() => {
                    let change = changes.entry(key(&range)).or_default();
                    change.inserted.push((number, instead));
                }
                Some((range, instead)) => {
                    let change = changes.entry(key(&range)).or_default();
                    change.instead.push((number, instead));
                }
                None => woven.apart.push(number),
            }
        }
        let changes: Vec<_> = changes.into_iter().collect();
        woven.write(file, 0..file.len(), &changes);
        Ok(woven)
    }

    /// Writes a range of the file with what is changed in it.
    fn write(&mut self, file: &str, range: Range<usize>, changes: &[(Key, Change)]) {
        let mut written = range.start;
        let mut rest = changes;
        while let Some((((start, _, Reverse(end)), change), later)) = rest.split_first() {
            self.text.push_str(&file[written..*start]);
            let inside = later.iter().take_while(|((start, ..), _)| start < end);
            let (inside, later) = later.split_at(inside.count());
            self.change(file, *start..*end, change, inside);
            (written, rest) = (*end, later);
        }
        self.text.push_str(&file[written..range.end]);
    }

    fn change(
        &mut self,
        file: &str,
        range: Range<usize>,
        change: &Change,
        inside: &[(Key, Change)],
    ) {
        for (number, text) in &change.inserted {
            self.put(*number, &text.replace(NUMBER, &number.to_string()));
        }
        if change.instead.is_empty() {
            return self.write(file, range, inside);
        }
        self.text.push('(');
        for (number, text) in &change.instead {
            self.text
                .push_str(&format!("if crate::mutant({number}) {{ "));
            self.put(*number, text);
            self.text.push_str(" } else ");
        }
        self.text.push_str("{ ");
        self.write(file, range, inside);
        self.text.push_str(" })");
    }

    fn put(&mut self, number: usize, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.put.push((number, start..self.text.len()));
    }
}

fn key(range: &Range<usize>) -> Key {
    (range.start, !range.is_empty(), Reverse(range.end))
}

/// Where a mutant is decided, and what stands there with it.
fn place(file: &str, mutant: &Mutant, places: &Places) -> Result<Option<(Range<usize>, String)>> {
    let range = mutant.range(file)?;
    // A function's body may begin with a constant of its own.
    let before = range.start - usize::from(mutant.genre == Genre::FnValue);
    let mut constants = places.constants.iter();
    if constants.any(|constant| constant.contains(&before)) {
        return Ok(None);
    }
    let replaced = |whole: &Range<usize>| {
        let (before, after) = (whole.start..range.start, range.end..whole.end);
        let text = format!("{}{}{}", &file[before], mutant.replacement, &file[after]);
        (whole.clone(), text)
    };
    Ok(match mutant.genre {
        Genre::BinaryOperator | Genre::UnaryOperator => {
            places.operators.get(&range.start).map(replaced)
        }
        Genre::StructField => {
            let around = places.structs.iter();
            let around = around.filter(|whole| whole.contains(&range.start));
            around.min_by_key(|whole| whole.len()).map(replaced)
        }
        Genre::MatchArmGuard => Some(replaced(&range)),
        Genre::MatchArm => places.arms.get(&range.start).map(|&end| {
            let guard = format!(" if !crate::mutant({NUMBER})");
            (end..end, guard)
        }),
        Genre::FnValue => {
            let at = range.start;
            let returned = &mutant.replacement;
            let text = format!("if crate::mutant({NUMBER}) {{ return {returned}; }} ");
            Some((at..at, text))
        }
    })
}

/// Stands for the number of the mutant.
const NUMBER: &str = "NUMBER";

#[cfg(test)]
mod tests {
    use super::*;

    fn woven(file: &str, mutants: &[(Genre, &str, &str)]) -> Woven {
        let mutants: Vec<_> = mutants
            .iter()
            .map(|(genre, old, new)| Mutant::of(*genre, file, old, new))
            .collect();
        let numbered: Vec<_> = mutants.iter().enumerate().collect();
        Woven::of(file, &numbered).unwrap()
    }

    #[test]
    fn an_operator_and_what_stands_around_it_are_decided_apart() {
        let file = "fn f(a: u8, b: u8) -> bool { a < 7 && !(b == 8) }";
        let woven = woven(
            file,
            &[
                (Genre::FnValue, "a < 7 && !(b == 8)", "true"),
                (Genre::BinaryOperator, "&&", "||"),
                (Genre::BinaryOperator, "<", "<="),
                (Genre::BinaryOperator, "<", ">"),
                (Genre::UnaryOperator, "!", ""),
            ],
        );
        assert_eq!(
            woven.text,
            "fn f(a: u8, b: u8) -> bool { if crate::mutant(0) { return true; } \
             (if crate::mutant(1) { a < 7 || !(b == 8) } else { \
             (if crate::mutant(2) { a <= 7 } else if crate::mutant(3) { a > 7 } else { a < 7 }) && \
             (if crate::mutant(4) { (b == 8) } else { !(b == 8) }) }) }"
        );
        for (number, range) in woven.put {
            let put = &woven.text[range];
            let expected = ["return true", "a < 7 ||", "a <= 7", "a > 7", "(b == 8)"];
            assert!(put.contains(expected[number]), "{number}: {put}");
        }
    }

    #[test]
    fn arms_guards_and_fields_are_decided_where_they_stand() {
        let file =
            "fn f(a: u8) { match a { 2 if a > 1 => z(), 1 => S { b: a, ..S::new() }, _ => w() } }";
        let woven = woven(
            file,
            &[
                (Genre::MatchArm, "1 => S { b: a, ..S::new() }", ""),
                (Genre::StructField, "b: a,", ""),
                (Genre::MatchArmGuard, "a > 1", "false"),
                (Genre::BinaryOperator, ">", ">="),
            ],
        );
        assert_eq!(woven.text.matches("1 if !crate::mutant(0) => ").count(), 1);
        let field = "(if crate::mutant(1) { S {  ..S::new() } } else { S { b: a, ..S::new() } })";
        assert_eq!(woven.text.matches(field).count(), 1, "{}", woven.text);
        let guard = "2 if (if crate::mutant(2) { false } else if crate::mutant(3) { a >= 1 } else { a > 1 }) => z()";
        assert_eq!(woven.text.matches(guard).count(), 1, "{}", woven.text);
    }

    #[test]
    fn a_body_that_begins_with_a_constant_is_switched() {
        let file = "fn f() -> u8 { const A: u8 = 1 + 2; A }\nconst fn g() -> u8 { 7 }";
        let woven = woven(
            file,
            &[
                (Genre::FnValue, "const A: u8 = 1 + 2; A", "0"),
                (Genre::FnValue, "7", "0"),
            ],
        );
        assert_eq!(woven.apart, [1]);
        assert!(
            woven
                .text
                .contains("{ if crate::mutant(0) { return 0; } const A")
        );
    }

    #[test]
    fn what_the_compiler_computes_and_chains_of_lets_stay_as_they_are() {
        let file =
            "const A: u8 = 1 + 2;\nfn f(a: Option<u8>) { if b > 1 && let Some(c) = a { g(c) } }";
        let woven = woven(
            file,
            &[
                (Genre::BinaryOperator, "+", "-"),
                (Genre::BinaryOperator, "&&", "||"),
            ],
        );
        assert_eq!(woven.apart, [0, 1]);
        assert_eq!(woven.text, file);
    }
}
