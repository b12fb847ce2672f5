//! libpq's keyword/value connection strings, as far as a fault shows before a server is asked.
//!
//! The grammar is PostgreSQL's (34.1.1.1, "Keyword/Value Connection Strings"). No fault repeats
//! a value: one of them may be the password.

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

/// What the string is to connect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    Control,
    Replication,
}

/// Everything that is wrong with `text`.
pub(super) fn faults(text: &str, purpose: Purpose) -> Vec<String> {
    let pairs = match parse(text) {
        Ok(pairs) => pairs,
        Err(words) => return vec![words],
    };
    let mut faults = Vec::new();
    let hosts = [pairs.get("host"), pairs.get("hostaddr")];
    if hosts.iter().flatten().all(|host| host.is_empty()) {
        faults.push(format!("no host=; allowed: {ALLOWED}"));
    }
    // Else it would be left to chance which server the session is on.
    if hosts.iter().flatten().any(|host| host.contains(',')) {
        faults.push("several hosts in host=; allowed: one".to_owned());
    }
    if let Some(port) = pairs.get("port")
        && !matches!(port.parse::<u16>(), Ok(1..))
    {
        faults.push("no port in port=; allowed: 1 to 65535".to_owned());
    }
    if pairs.get("user").is_none_or(String::is_empty) {
        faults.push(format!("no user=; allowed: {ALLOWED}"));
    }
    match (purpose, pairs.get("dbname")) {
        (Purpose::Control, Some(dbname)) if dbname != "postgres" => {
            faults.push(format!(
                "dbname={dbname}; allowed: dbname=postgres, or none: control sessions begin there"
            ));
        }
        (Purpose::Replication, Some(_)) => {
            faults
                .push("a dbname=; allowed: none, each database is replicated by itself".to_owned());
        }
        (Purpose::Control | Purpose::Replication, _) => {}
    }
    faults
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    if text.trim().is_empty() {
        return Err(format!("empty; allowed: {ALLOWED}"));
    }
    if URIS.iter().any(|scheme| text.starts_with(scheme)) {
        return Err(format!("a URI; allowed: {ALLOWED}"));
    }
    let mut pairs = BTreeMap::new();
    let mut rest = text.chars().peekable();
    let mut last = None;
    loop {
        skip_spaces(&mut rest);
        if rest.peek().is_none() {
            return Ok(pairs);
        }
        let keyword = keyword(&mut rest);
        skip_spaces(&mut rest);
        if rest.next() != Some('=') {
            // It may be the second half of a password.
            return Err(match last {
                Some(last) => format!(
                    "a word without '=' after {last}=…; allowed: {last}='…' for a value with \
                     spaces"
                ),
                None => format!("a word without '='; allowed: {ALLOWED}"),
            });
        }
        skip_spaces(&mut rest);
        let Some(value) = value(&mut rest) else {
            return Err(format!("no closing quote after {keyword}='…"));
        };
        last = Some(keyword.clone());
        pairs.insert(keyword, value);
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

/// What libpq takes for the beginning of a URI.
const URIS: [&str; 2] = ["postgres://", "postgresql://"];
pub(super) const ALLOWED: &str = "\"host=HOST port=PORT user=ROLE …\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_backslashes_and_spaces_are_read_as_libpq_reads_them() {
        let text = r"host = 'a b'  user=o\'hara password='it\'s \\ = ' port=5432";
        let pairs = parse(text).unwrap();
        assert_eq!(pairs["host"], "a b");
        assert_eq!(pairs["user"], "o'hara");
        assert_eq!(pairs["password"], r"it's \ = ");
        assert_eq!(pairs["port"], "5432");
    }

    #[test]
    fn no_fault_repeats_a_value() {
        for text in [
            "host=a user=b password=my secret",
            "host=a user=b password='my secret",
            "my secret",
            "host=a,secret user=b port=secret",
            "postgres://b:secret@a/postgres",
        ] {
            let faults = faults(text, Purpose::Control);
            assert!(!faults.is_empty(), "{text}");
            assert!(!faults.join(" ").contains("secret"), "{faults:?}");
        }
    }

    #[test]
    fn each_purpose_has_its_rule_for_dbname() {
        let faulty =
            |dbname: &str, purpose| !faults(&format!("host=a user=b {dbname}"), purpose).is_empty();
        assert!(!faulty("", Purpose::Control));
        assert!(!faulty("dbname=postgres", Purpose::Control));
        assert!(faulty("dbname=orders", Purpose::Control));
        assert!(!faulty("", Purpose::Replication));
        assert!(faulty("dbname=postgres", Purpose::Replication));
    }
}
