//! libpq's password file.
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use pointsman_catalog::Secret;

/// The connection that needs a password.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Its name, address or socket folder, as the connection string has it.
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) datname: &'a str,
    pub(super) user: &'a str,
}

/// The password of the first line that matches.
pub(super) fn find(file: &Secret, wanted: &Wanted<'_>) -> Option<Secret> {
    let port = wanted.port.to_string();
    let host = match wanted.host {
        // The default folders of sockets stand for this machine.
        "/tmp" | "/var/run/postgresql" => "localhost",
        host => host,
    };
    let fields = [host, &port, wanted.datname, wanted.user];
    let lines = file.reveal().lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| password(line, &fields)).next()
}

/// The password of `line`, if its first fields match.
fn password(line: &str, fields: &[&str; 4]) -> Option<Secret> {
    let mut rest = line;
    for field in fields {
        let (pattern, after) = cut(rest)?;
        if pattern != "*" && unescape(pattern) != *field {
            return None;
        }
        rest = after;
    }
    let (password, _ignored) = cut(rest).unwrap_or((rest, ""));
    Some(Secret::new(unescape(password)))
}

/// Cuts at the first colon that no backslash stands before.
fn cut(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            ':' if !escaped => return Some((&text[..at], &text[at + 1..])),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '\\' => rest.next().unwrap_or(c),
            c => c,
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &str, host: &str, datname: &str) -> Option<String> {
        let wanted = Wanted {
            host,
            port: 5432,
            datname,
            user: "u",
        };
        let found = find(&Secret::new(file), &wanted)?;
        Some(found.reveal().to_owned())
    }

    #[test]
    fn the_first_line_that_matches_counts() {
        let file = "# db:5432:app:u:no\ndb:5433:app:u:port\ndb:5432:app:x:user\ndb:5432:app:u:first\n\
                    *:*:*:u:any\n";
        assert_eq!(found(file, "db", "app").unwrap(), "first");
        assert_eq!(found(file, "db", "postgres").unwrap(), "any");
        assert_eq!(found("db:5432:app:u:first", "db", "orders"), None);
        assert_eq!(found("", "db", "app"), None);
        assert_eq!(found("the password alone", "db", "app"), None);
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        let file = r"2001\:db8\:\:1:5432:a\\b:u:p\:a\\s\s:rest";
        assert_eq!(found(file, "2001:db8::1", r"a\b").unwrap(), r"p:a\ss");
        assert_eq!(
            found(r"\*:5432:app:u:p", "db", "app"),
            None,
            "a star as such"
        );
    }

    #[test]
    fn a_default_socket_folder_is_localhost() {
        let file = "localhost:5432:app:u:p";
        assert!(found(file, "/var/run/postgresql", "app").is_some());
        assert!(found(file, "/srv/pg", "app").is_none());
    }
}
