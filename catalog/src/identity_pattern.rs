use std::fmt;

use serde::{Deserialize, Serialize};

/// Which SPIFFE IDs a sidecar group admits.
///
/// `spiffe://example.org/orders/web` admits that one identity. `spiffe://example.org/orders/*` admits
/// every identity whose path goes on after the slash, by one segment or more; a `*` stands nowhere
/// else. What begins with `/pointsman/` is never admitted: those names are of registered sidecars and
/// of operators.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityPattern(String);

/// Why a text is no pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{pattern:?} is no pattern of SPIFFE IDs: {reason}; allowed: spiffe://TRUST-DOMAIN/PATH for one \
     identity, or spiffe://TRUST-DOMAIN/PATH/* for all below it"
)]
pub struct IdentityPatternError {
    pattern: String,
    reason: &'static str,
}

impl IdentityPattern {
    /// Checks `pattern`.
    pub fn new(pattern: impl Into<String>) -> Result<Self, IdentityPatternError> {
        let pattern = pattern.into();
        match fault(&pattern) {
            None => Ok(Self(pattern)),
            Some(reason) => Err(IdentityPatternError { pattern, reason }),
        }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `example.org` of `spiffe://example.org/orders/*`.
    pub fn trust_domain(&self) -> &str {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or(&self.0);
        rest.split('/').next().unwrap_or(rest)
    }

    /// The path by which `identity`, a SPIFFE ID, is told from others that the pattern admits: what
    /// stands in the place of the `*`, or else its last segment. `None` if it is not admitted.
    pub fn admits<'a>(&self, identity: &'a str) -> Option<&'a str> {
        let path = identity.strip_prefix(SCHEME)?;
        let path = &path[path.find('/')?..];
        if path.starts_with(RESERVED) {
            return None;
        }
        match self.prefix() {
            Some(prefix) => identity
                .strip_prefix(prefix)
                .filter(|rest| !rest.is_empty()),
            None if identity == self.0 => identity.rsplit('/').next(),
            None => None,
        }
    }

    /// Whether some identity is admitted by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.prefix(), other.prefix()) {
            (Some(own), Some(others)) => own.starts_with(others) || others.starts_with(own),
            (Some(own), None) => other.0.starts_with(own),
            (None, Some(others)) => self.0.starts_with(others),
            (None, None) => self == other,
        }
    }

    /// What stands before the `*`, with the slash.
    fn prefix(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }
}

/// What is wrong with a pattern.
fn fault(pattern: &str) -> Option<&'static str> {
    if pattern.len() > MAX_LEN {
        return Some("it has more than 2048 bytes");
    }
    let Some(rest) = pattern.strip_prefix(SCHEME) else {
        return Some("it does not begin with spiffe://");
    };
    let Some((domain, path)) = rest.split_once('/') else {
        return Some("it has no path");
    };
    let in_domain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    if domain.is_empty() || domain.len() > MAX_DOMAIN || !domain.bytes().all(in_domain) {
        return Some(
            "its trust domain is not 1 to 255 of the characters a-z, 0-9, dot, dash and underscore",
        );
    }
    let fixed = match path.strip_suffix('*') {
        Some("") => return None,
        Some(fixed) => fixed.strip_suffix('/'),
        None => Some(path),
    };
    let Some(fixed) = fixed else {
        return Some("a * stands for whole segments, at the end");
    };
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(in_path);
    if !fixed.split('/').all(is_segment) {
        return Some(
            "a segment of its path is empty, a dot, two dots, or has another character than A-Z, \
             a-z, 0-9, dot, dash and underscore",
        );
    }
    if fixed.split('/').next() == Some("pointsman") {
        return Some("names below /pointsman/ are those of registered sidecars and of operators");
    }
    None
}

impl TryFrom<String> for IdentityPattern {
    type Error = IdentityPatternError;

    fn try_from(pattern: String) -> Result<Self, IdentityPatternError> {
        Self::new(pattern)
    }
}

impl std::str::FromStr for IdentityPattern {
    type Err = IdentityPatternError;

    fn from_str(pattern: &str) -> Result<Self, IdentityPatternError> {
        Self::new(pattern)
    }
}

impl From<IdentityPattern> for String {
    fn from(pattern: IdentityPattern) -> Self {
        pattern.0
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const SCHEME: &str = "spiffe://";
const RESERVED: &str = "/pointsman/";
/// <https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md>, section 2.3.
const MAX_LEN: usize = 2048;
const MAX_DOMAIN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> IdentityPattern {
        IdentityPattern::new(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_one_segment_or_more() {
        let below = pattern("spiffe://example.org/orders/*");
        for (identity, path) in [
            ("spiffe://example.org/orders/web", Some("web")),
            ("spiffe://example.org/orders/web/blue", Some("web/blue")),
            ("spiffe://example.org/orders", None),
            ("spiffe://example.org/orders-2/web", None),
            ("spiffe://elsewhere.org/orders/web", None),
            ("spiffe://example.org.evil.org/orders/web", None),
        ] {
            assert_eq!(below.admits(identity), path, "{identity}");
        }
        let one = pattern("spiffe://example.org/ns/shop/sa/orders");
        assert_eq!(
            one.admits("spiffe://example.org/ns/shop/sa/orders"),
            Some("orders")
        );
        assert_eq!(one.admits("spiffe://example.org/ns/shop/sa/orders/x"), None);
    }

    #[test]
    fn names_of_this_system_are_in_no_group() {
        let everybody = pattern("spiffe://example.org/*");
        assert_eq!(
            everybody.admits("spiffe://example.org/pointsman/sidecar/app-1"),
            None
        );
        assert_eq!(everybody.admits("spiffe://example.org/web"), Some("web"));
    }

    #[test]
    fn two_patterns_overlap_if_one_identity_could_be_in_both() {
        let all = [
            "spiffe://example.org/*",
            "spiffe://example.org/orders/*",
            "spiffe://example.org/orders/web",
            "spiffe://example.org/orders-2/*",
            "spiffe://elsewhere.org/*",
        ];
        let overlapping =
            |one: usize, other: usize| pattern(all[one]).overlaps(&pattern(all[other]));
        for (one, other, overlap) in [
            (0, 0, true),
            (0, 1, true),
            (0, 2, true),
            (1, 2, true),
            (1, 3, false),
            (2, 3, false),
            (0, 4, false),
            (2, 2, true),
        ] {
            assert_eq!(overlapping(one, other), overlap, "{one} {other}");
            assert_eq!(overlapping(other, one), overlap, "{other} {one}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, reason) in [
            ("https://example.org/a", "does not begin"),
            ("spiffe://example.org", "no path"),
            ("spiffe://Example.org/a", "trust domain"),
            ("spiffe:///a", "trust domain"),
            ("spiffe://example.org/a*", "whole segments"),
            ("spiffe://example.org/*/a", "a segment"),
            ("spiffe://example.org/a/", "a segment"),
            ("spiffe://example.org/a//*", "a segment"),
            ("spiffe://example.org/../a", "a segment"),
            ("spiffe://example.org/pointsman/*", "/pointsman/"),
            ("spiffe://example.org/pointsman/sidecar/a", "/pointsman/"),
        ] {
            let error = IdentityPattern::new(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
