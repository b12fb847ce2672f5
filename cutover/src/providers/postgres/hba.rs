//! `pg_hba.conf` while a server is fenced: a pure transformation of its text.
//! <https://www.postgresql.org/docs/current/auth-pg-hba-conf.html>

mod file;

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
/// can match one of `roles` stays for that role only; the last line rejects the rest, in
/// PostgreSQL's own words, which prove that the reload is through.
pub fn fenced(text: &str, roles: &[String]) -> Result<String, UnfitHba> {
    check(text)?;
    let mut lines = vec![HEADER.to_owned()];
    for line in text.lines() {
        let columns = columns(line);
        match columns.as_slice() {
            [] => {}
            [(_, kind), ..] if *kind == "local" => lines.push(line.to_owned()),
            [_, (_, databases), ..] if has(databases, "replication") => lines.push(line.to_owned()),
            [_, _, (at, users), ..] => {
                let (before, after) = (&line[..*at], &line[at + users.len()..]);
                for role in roles {
                    if has(users, "all") || has(users, role) || has(users, &quoted(role)) {
                        lines.push(format!("{before}{}{after}", quoted(role)));
                    }
                }
            }
            _ => {}
        }
    }
    lines.push("host all all all reject".to_owned());
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// Whether `text` is what [`fenced`] made.
pub(super) fn is_fenced(text: &str) -> bool {
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
        let first = line.split_whitespace().next().unwrap_or_default();
        let included = columns(line)
            .iter()
            .any(|(_, column)| column.starts_with('@') || column.contains(",@"));
        if included || first.starts_with("include") {
            return Err(UnfitHba::Includes {
                line: number + 1,
                directive: line.trim().to_owned(),
            });
        }
    }
    Ok(())
}

/// The columns of a line with their offsets; a comment ends the line, quotes keep blanks.
fn columns(line: &str) -> Vec<(usize, &str)> {
    let mut columns = Vec::new();
    let mut begin = None;
    let mut in_quotes = false;
    let mut end = line.len();
    for (at, character) in line.char_indices() {
        match character {
            '"' => {
                in_quotes = !in_quotes;
                begin.get_or_insert(at);
            }
            '#' if !in_quotes => {
                end = at;
                break;
            }
            character if character.is_whitespace() && !in_quotes => {
                if let Some(begin) = begin.take() {
                    columns.push((begin, &line[begin..at]));
                }
            }
            _ => {
                begin.get_or_insert(at);
            }
        }
    }
    if let Some(begin) = begin {
        columns.push((begin, &line[begin..end]));
    }
    columns
}

fn has(list: &str, wanted: &str) -> bool {
    list.split(',').any(|item| item == wanted)
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

    #[test]
    fn what_cannot_be_given_back_is_refused() {
        let roles = ["postgres".to_owned()];
        let included = "include other.conf\n";
        assert!(matches!(
            fenced(included, &roles),
            Err(UnfitHba::Includes { line: 1, .. })
        ));
        assert!(matches!(
            fenced("host all @admins all trust\n", &roles),
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
