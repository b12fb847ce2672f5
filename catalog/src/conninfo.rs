//! libpq connection strings, as keywords and values or as a URI.
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>
//!
//! No error message repeats a value: one of them may be the password.

mod keyword;
mod spec;
mod uri;

use std::{fmt, iter::Peekable, str::Chars};

pub(crate) use self::keyword::{Purpose, refused};
pub use self::spec::{
    ChannelBinding, ConnectionSpec, Host, Keepalive, Roots, SslMode, TlsSpec, TlsVersion,
};

/// The pairs of a connection string. Its `Debug` shows no value: one may be the password.
#[derive(Clone, Default)]
pub struct Conninfo(Vec<(String, String)>);

impl Conninfo {
    /// An example of such a string.
    pub const FORM: &str = "\"host=HOST port=PORT user=ROLE …\"";

    /// # Errors
    /// What is wrong, in a message that shows no value.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err(format!("empty; allowed: {}", Self::FORM));
        }
        if let Some(uri) = uri::after_scheme(text) {
            return uri::parse(uri).map(Self);
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut rest = text.chars().peekable();
        loop {
            skip_spaces(&mut rest);
            if rest.peek().is_none() {
                return Ok(Self(pairs));
            }
            let keyword = keyword(&mut rest);
            skip_spaces(&mut rest);
            if rest.next() != Some('=') {
                return Err(no_keyword(pairs.last().map(|(last, _)| &**last)));
            }
            skip_spaces(&mut rest);
            let Some(value) = value(&mut rest) else {
                return Err(format!("no closing quote after {keyword}='…"));
            };
            pairs.push((keyword, value));
        }
    }

    /// Whether `text` is a URI whose role or password seems to hold a `/`, which ends both: what is
    /// taken for the host, the port and the database is then a part of the password.
    pub(crate) fn cuts_credentials(text: &str) -> bool {
        uri::after_scheme(text).is_some_and(uri::cuts_credentials)
    }

    /// The last value of `key`, as in libpq.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The keywords that this program does not take, each with the reason.
    #[must_use]
    pub fn unsupported(&self) -> Vec<String> {
        refused(self.keywords(), Purpose::Control)
    }

    /// The keywords, in the order of the string.
    pub fn keywords(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }

    /// Replaces `key`.
    #[must_use]
    pub fn with(self, key: &str, value: &str) -> Self {
        let mut pairs = self.without(&[key]);
        pairs.0.push((key.to_owned(), value.to_owned()));
        pairs
    }

    #[must_use]
    pub fn without(mut self, keys: &[&str]) -> Self {
        self.0.retain(|(name, _)| !keys.contains(&name.as_str()));
        self
    }

    /// Adds the pairs of `defaults` whose keyword is not there yet.
    #[must_use]
    pub fn or(mut self, defaults: Self) -> Self {
        let new = |(key, _): &(String, String)| self.get(key).is_none();
        let new: Vec<_> = defaults.0.into_iter().filter(new).collect();
        self.0.extend(new);
        self
    }

    /// The connection string, with every value quoted.
    #[must_use]
    pub fn render(&self) -> String {
        let pairs = self.0.iter().map(|(key, value)| {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            format!("{key}='{value}'")
        });
        pairs.collect::<Vec<_>>().join(" ")
    }
}

impl FromIterator<(String, String)> for Conninfo {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keywords()).finish()
    }
}

/// Describes a word that may be the second half of a password; `last` is the keyword before it.
fn no_keyword(last: Option<&str>) -> String {
    match last {
        Some(last) => format!(
            "a word without '=' after {last}=…; allowed: {last}='…' for a value with spaces"
        ),
        None => format!("a word without '='; allowed: {}", Conninfo::FORM),
    }
}

fn skip_spaces(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(char::is_ascii_whitespace).is_some() {}
}

fn keyword(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut keyword = String::new();
    while let Some(c) = rest.next_if(|&c| c != '=' && !c.is_ascii_whitespace()) {
        keyword.push(c);
    }
    keyword
}

/// A quoted or a bare value; a backslash takes the next character as it is. `None` for a quote
/// that is not closed.
fn value(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let quoted = rest.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        match rest.next_if(|c| quoted || !c.is_ascii_whitespace()) {
            Some('\'') if quoted => return Some(value),
            Some('\\') => value.extend(rest.next()),
            Some(c) => value.push(c),
            None if quoted => return None,
            None => return Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn quoted_values_keep_their_blanks_quotes_and_backslashes() {
        let info =
            Conninfo::parse(r" host = 'a  b' user=o\'c password='it\'s \\ '  port=1").unwrap();
        assert_eq!(info.get("host"), Some("a  b"));
        assert_eq!(info.get("user"), Some("o'c"));
        assert_eq!(info.get("password"), Some("it's \\ "));
        assert_eq!(info.get("port"), Some("1"));
        let again = Conninfo::parse(&info.render()).unwrap();
        assert_eq!(again.render(), info.render());
    }

    #[test]
    fn the_last_of_a_repeated_keyword_counts() {
        let info = Conninfo::parse("user=a user=b").unwrap();
        assert_eq!(info.get("user"), Some("b"));
        assert_eq!(info.with("user", "c").render(), "user='c'");
    }

    #[test]
    fn what_the_string_says_goes_before_the_defaults() {
        let info = Conninfo::parse("user=a").unwrap();
        let defaults = Conninfo::parse("user=b host=c").unwrap();
        assert_eq!(info.or(defaults).render(), "user='a' host='c'");
    }

    #[test]
    fn an_error_about_a_malformed_string_shows_none_of_it() {
        for malformed in ["secret", "a='secret", "a b=secret"] {
            let Err(message) = Conninfo::parse(malformed) else {
                panic!("{malformed} was accepted");
            };
            assert!(!message.contains("secret"), "{message}");
        }
    }

    /// What PQconninfoParse of libpq 15.18 makes of each string; null is an error.
    #[test]
    fn strings_mean_what_they_mean_to_libpq() {
        type Cases = Vec<(String, Option<BTreeMap<String, String>>)>;
        let cases: Cases = serde_json::from_str(include_str!("conninfo/libpq.json")).unwrap();
        assert_eq!(cases.len(), 69);
        for (text, expected) in cases {
            let found = Conninfo::parse(&text).ok();
            // An unknown keyword is an error of libpq's parser, and of the table's here.
            let unknown = |info: &Conninfo| info.keywords().any(|key| ["", "ssl"].contains(&key));
            let found = found.filter(|info| !unknown(info));
            let pairs = found.map(|info| {
                let keys: Vec<_> = info.keywords().map(str::to_owned).collect();
                let value = |key: String| (key.clone(), info.get(&key).unwrap().to_owned());
                keys.into_iter().map(value).collect::<BTreeMap<_, _>>()
            });
            if text.contains("@h@x") {
                assert_eq!(pairs, None, "{text}: libpq looks up host \"h@x\"");
            } else {
                assert_eq!(pairs, expected, "{text}");
            }
        }
    }
}
