//! `pg_hba.conf` while a server is fenced: a pure transformation of its text.
//! <https://www.postgresql.org/docs/current/auth-pg-hba-conf.html>

mod file;

use std::ops::Range;

pub(super) use file::HbaFile;

/// Why a file cannot be fenced and given back byte for byte.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnfitHba {
    #[error(
        "line {line} includes another file ({directive}); write the rules into one file, or use \
         fence level \"sql\""
    )]
    Includes { line: usize, directive: String },
    #[error(
        "it contains a character that cannot be written back by SQL (U+{0:04X}); remove it, or use \
         fence level \"sql\""
    )]
    Character(u32),
    #[error("its last line does not end in a line feed; add one, or use fence level \"sql\"")]
    NoFinalLineFeed,
}

/// The rules that admit `roles` and nobody else over the network.
///
/// Local lines and those for physical replication stay as they are. Every other rule that
/// may match one of `roles` (by name, by `all`, by a group, by a regular expression) stays
/// for that role only; the last line rejects the rest, in PostgreSQL's own words.
///
/// # Errors
/// The text could not be given back byte for byte, or what it admits cannot be seen.
pub fn fenced(text: &str, roles: &[String]) -> Result<String, UnfitHba> {
    check(text)?;
    let mut lines = vec![HEADER.to_owned()];
    // A backslash at the end continues a line, comments included.
    for line in text.replace("\\\n", "").lines() {
        let columns = columns(line);
        match columns.as_slice() {
            [] => {}
            [kind, ..] if line[kind.clone()] == *"local" => lines.push(line.to_owned()),
            [_, databases, users, ..] => {
                let names: Vec<_> = items(&line[databases.clone()]).collect();
                let replication = names.contains(&"replication");
                let others: Vec<_> = names
                    .iter()
                    .filter(|name| **name != "replication")
                    .copied()
                    .collect();
                if replication {
                    lines.push(with(line, databases, "replication"));
                }
                if others.is_empty() {
                    continue;
                }
                let admitted = roles
                    .iter()
                    .filter(|role| may_match(&line[users.clone()], role));
                for role in admitted {
                    let rule = with(line, users, &quoted(role));
                    lines.push(with(&rule, databases, &others.join(",")));
                }
            }
            _ => {}
        }
    }
    lines.push("host all all all reject".to_owned());
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// `line` with other text in the place of a column; columns are replaced from the right, so
/// that places keep their meaning.
fn with(line: &str, column: &Range<usize>, text: &str) -> String {
    format!("{}{text}{}", &line[..column.start], &line[column.end..])
}

fn may_match(users: &str, role: &str) -> bool {
    items(users).any(|item| {
        item == "all"
            || item == role
            || item == quoted(role)
            || item.trim_matches('"').starts_with(['+', '/'])
    })
}

fn items(column: &str) -> impl Iterator<Item = &str> {
    column
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Whether `text` is what [`fenced`] made.
fn is_fenced(text: &str) -> bool {
    text.starts_with(HEADER)
}

fn check(text: &str) -> Result<(), UnfitHba> {
    let odd = |c: &char| (c.is_control() && *c != '\n' && *c != '\t') || *c == '\u{feff}';
    if let Some(character) = text.chars().find(odd) {
        return Err(UnfitHba::Character(u32::from(character)));
    }
    if !text.ends_with('\n') {
        return Err(UnfitHba::NoFinalLineFeed);
    }
    for (number, line) in text.lines().enumerate() {
        let columns = columns(line);
        let first = columns.first().map_or("", |first| &line[first.clone()]);
        let files = |column: &Range<usize>| {
            items(&line[column.clone()]).any(|item| item.trim_matches('"').starts_with('@'))
        };
        if columns.iter().any(files) || first.starts_with("include") {
            return Err(UnfitHba::Includes {
                line: number + 1,
                directive: line.trim().to_owned(),
            });
        }
    }
    Ok(())
}

/// The places of a line's columns: blanks end a column outside quotes, but not behind a
/// comma, and a comment ends the line.
fn columns(line: &str) -> Vec<Range<usize>> {
    let mut columns = Vec::new();
    let mut column: Option<Range<usize>> = None;
    let mut in_quotes = false;
    let mut list_goes_on = false;
    for (at, character) in line.char_indices() {
        if character == '#' && !in_quotes {
            break;
        }
        if character.is_whitespace() && !in_quotes {
            if !list_goes_on {
                columns.extend(column.take());
            }
            continue;
        }
        in_quotes ^= character == '"';
        list_goes_on = character == ',' && !in_quotes;
        let end = at + character.len_utf8();
        column = Some(column.map_or(at, |column| column.start)..end);
    }
    columns.extend(column);
    columns
}

/// Quotes keep keywords such as `all` from having their meaning.
fn quoted(role: &str) -> String {
    format!("\"{role}\"")
}

const HEADER: &str = "# Fenced by pointsman; the former rules are in table pointsman.fence.";

#[cfg(test)]
mod tests {
    use super::*;

    const SERVING: &str = "# comment\n\
        local all all trust\n\
        host replication all 127.0.0.1/32 trust\n\
        host all  postgres 127.0.0.1/32 trust\n\
        host app app 127.0.0.1/32 scram-sha-256 # the application\n\
        hostssl all all 0.0.0.0/0 scram-sha-256\n";

    #[test]
    fn only_local_replication_and_the_named_roles_stay() {
        let fenced = fenced(SERVING, &["postgres".to_owned()]).unwrap();
        assert_eq!(
            fenced,
            format!(
                "{HEADER}\n\
                 local all all trust\n\
                 host replication all 127.0.0.1/32 trust\n\
                 host all  \"postgres\" 127.0.0.1/32 trust\n\
                 hostssl all \"postgres\" 0.0.0.0/0 scram-sha-256\n\
                 host all all all reject\n"
            )
        );
        assert!(is_fenced(&fenced));
    }

    fn rules(text: &str) -> Vec<String> {
        let roles = ["postgres".to_owned(), "repl".to_owned()];
        let fenced = fenced(text, &roles).unwrap();
        let rules = fenced.lines().skip(1).map(str::to_owned);
        let (last, rules): (Vec<_>, Vec<_>) =
            rules.partition(|rule| rule == "host all all all reject");
        assert_eq!(last.len(), 1);
        rules
    }

    #[test]
    fn a_line_for_replication_and_databases_admits_everybody_to_replication_only() {
        assert_eq!(
            rules("host app,replication all all trust\n"),
            [
                "host replication all all trust",
                "host app \"postgres\" all trust",
                "host app \"repl\" all trust",
            ]
        );
    }

    #[test]
    fn groups_and_expressions_that_may_match_stay_for_the_named_roles() {
        assert_eq!(
            rules("host all +admins all scram-sha-256\nhost all \"/^post\" all trust\n"),
            [
                "host all \"postgres\" all scram-sha-256",
                "host all \"repl\" all scram-sha-256",
                "host all \"postgres\" all trust",
                "host all \"repl\" all trust",
            ]
        );
        assert_eq!(rules("host all app,\"all\",post all trust\n"), [""; 0]);
    }

    #[test]
    fn lists_with_blanks_comments_and_continued_lines_are_read_as_postgresql_does() {
        assert_eq!(
            rules("host all app, repl all trust\n"),
            ["host all \"repl\" all trust"]
        );
        assert_eq!(
            rules("host all \\\n app \\\n all trust\n# a comment \\\nhost all all all trust\n"),
            [""; 0]
        );
        assert_eq!(
            rules("host \"my db\" repl all trust # host all all\n"),
            ["host \"my db\" \"repl\" all trust # host all all"]
        );
    }

    #[test]
    fn what_cannot_be_given_back_is_refused() {
        let roles = ["postgres".to_owned()];
        let included = "include other.conf\n";
        assert!(matches!(
            fenced(included, &roles),
            Err(UnfitHba::Includes { line: 1, .. })
        ));
        assert!(matches!(
            fenced("host all app, @admins all trust\n", &roles),
            Err(UnfitHba::Includes { .. })
        ));
        assert_eq!(
            fenced("local all all trust\r\n", &roles),
            Err(UnfitHba::Character(13))
        );
        assert_eq!(
            fenced("local all all trust", &roles),
            Err(UnfitHba::NoFinalLineFeed)
        );
    }
}
