//! Names, texts and numbers as SQL writes them.

use std::fmt;

/// A quoted identifier.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted literal. Backslashes need the `E` form, which does not depend on
/// `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A number of the server's, which has no unsigned ones.
///
/// # Errors
/// Names `what` has no place in a `T`: a number that safety rests on must not become another.
pub(super) fn number<T: TryFrom<i64>>(what: &str, found: i64) -> Result<T, String>
where
    T::Error: fmt::Display,
{
    T::try_from(found).map_err(|error| format!("{what} is {found}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn a_number_that_does_not_fit_is_an_error_with_its_name() {
        assert_eq!(number("epoch", 7), Ok(7_u64));
        let error = number::<u64>("epoch", -1).unwrap_err();
        assert!(error.starts_with("epoch is -1: "), "{error}");
        let error = number::<u32>("timeline", 1 << 32).unwrap_err();
        assert!(error.starts_with("timeline is 4294967296: "), "{error}");
    }
}
