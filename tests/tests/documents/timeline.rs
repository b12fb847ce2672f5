//! The README's timeline against the messages of the steps.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use pointsman_cutover::machine::Step;
use proc_macro2::{TokenStream, TokenTree};
use syn::LitStr;

use super::markdown::{Document, files, root};

/// The text of a format string, around what is put into it.
struct Form(Vec<String>);

impl Form {
    fn of(text: &str) -> Self {
        let pieces = text.split('{').enumerate();
        let pieces = pieces.map(|(index, piece)| match piece.split_once('}') {
            Some((_, after)) if index > 0 => after,
            Some(_) | None => piece,
        });
        Self(pieces.map(str::to_owned).collect())
    }

    /// Whether it says something by itself: `{}: {}` would fit everything.
    fn speaks(&self) -> bool {
        let letters = self.0.iter().flat_map(|piece| piece.chars());
        letters.filter(|letter| letter.is_alphabetic()).count() >= FEWEST_LETTERS
    }

    fn fits(&self, message: &str) -> bool {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else {
            return false;
        };
        if self.0.len() == 1 {
            return message == first;
        }
        let Some(mut rest) = message.strip_prefix(first.as_str()) else {
            return false;
        };
        for piece in &self.0[1..self.0.len() - 1] {
            let Some((_, after)) = rest.split_once(piece.as_str()) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }
}

/// Every text in the sources of the steps.
fn texts() -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in files()? {
        if path.starts_with("cutover/src/steps") {
            let source = fs::read_to_string(root().join(&path))?;
            let tokens: TokenStream = source.parse().ok().context("a source of the steps")?;
            gather(tokens, &mut texts);
        }
    }
    ensure!(!texts.is_empty(), "the steps have no messages");
    Ok(texts)
}

fn gather(tokens: TokenStream, texts: &mut Vec<String>) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => gather(group.stream(), texts),
            TokenTree::Literal(literal) => {
                if let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string()) {
                    texts.push(text.value());
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// The step and the message of a line like `[ 9.47 s] +914.9 ms prove done MESSAGE (16.0 ms)`.
fn done(line: &str) -> Option<(&str, &str)> {
    let (before, message) = line.split_once(" done ")?;
    let step = before.split_whitespace().last()?;
    let (message, _took) = message.trim().rsplit_once(" (")?;
    Some((step, message))
}

fn forms<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Form> {
    texts.map(Form::of).filter(Form::speaks).collect()
}

#[test]
fn each_step_of_the_timeline_says_what_the_step_says() -> Result<()> {
    let texts = texts()?;
    let whole = forms(texts.iter().map(String::as_str));
    // A message can be put together from several: each of its clauses is one of theirs.
    let clauses = forms(texts.iter().flat_map(|text| text.split("; ")));
    let document = Document::read("README.md")?;
    let lines = document.code_lines(&["text"]);
    let mut shown = BTreeSet::new();
    let mut wrong = Vec::new();
    for line in &lines {
        let Some((step, message)) = done(&line.text) else {
            continue;
        };
        shown.insert(step);
        let said = |forms: &[Form], text: &str| forms.iter().any(|form| form.fits(text));
        if !said(&whole, message) || !message.split("; ").all(|clause| said(&clauses, clause)) {
            wrong.push(format!(
                "{}: no {step} says {message:?}",
                document.at(line.line)
            ));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    for step in Step::ALL.map(Step::label) {
        ensure!(shown.contains(step), "the timeline shows no {step}");
    }
    Ok(())
}

#[test]
fn a_message_that_lost_its_end_does_not_fit() {
    let form = Form::of("nobody has written on {} since the marker, {}{accepted}");
    assert!(form.fits("nobody has written on blue since the marker, by WAL records"));
    assert!(!form.fits("nobody has written on blue since the marker"));
    assert!(!Form::of("{} is closed: {} ended").fits("blue is closed: 3 left"));
    assert!(!Form::of("{}: {}").speaks());
}

const FEWEST_LETTERS: usize = 6;
