//! libpq keyword/value strings.
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>

use std::fs;

/// The pairs of a connection string. It may hold a password, so it has no `Debug`.
pub(in crate::providers::postgres) struct Conninfo(Vec<(String, String)>);

impl Conninfo {
    /// # Errors
    /// What is wrong, in words that show no value.
    pub(in crate::providers::postgres) fn parse(text: &str) -> Result<Self, String> {
        let mut pairs = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, after) = rest
                .split_once('=')
                .ok_or("a keyword is not followed by \"=\"")?;
            let key = key.trim_end();
            if key.is_empty() || key.contains(char::is_whitespace) {
                return Err("a keyword is not followed by \"=\"".to_owned());
            }
            let (value, after) = value(after.trim_start())?;
            pairs.push((key.to_owned(), value));
            rest = after.trim_start();
        }
        Ok(Self(pairs))
    }

    /// The last value of `key`, as in libpq.
    pub(in crate::providers::postgres) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// Replaces `key`.
    pub(in crate::providers::postgres) fn with(self, key: &str, value: &str) -> Self {
        let mut pairs = self.without(&[key]);
        pairs.0.push((key.to_owned(), value.to_owned()));
        pairs
    }

    pub(in crate::providers::postgres) fn without(mut self, keys: &[&str]) -> Self {
        self.0.retain(|(name, _)| !keys.contains(&name.as_str()));
        self
    }

    /// `passfile` is ours, not libpq's: the file's first line is the password.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(in crate::providers::postgres) fn with_password_read(self) -> Result<Self, String> {
        let Some(path) = self.get("passfile").map(str::to_owned) else {
            return Ok(self);
        };
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("the password file {path} cannot be read: {error}"))?;
        let password = text.lines().next().unwrap_or_default();
        Ok(self.without(&["passfile"]).with("password", password))
    }

    /// The string again, every value quoted.
    pub(in crate::providers::postgres) fn render(&self) -> String {
        let pairs = self.0.iter().map(|(key, value)| {
            let value = value.replace('\\', "\\\\").replace('\'', "\\'");
            format!("{key}='{value}'")
        });
        pairs.collect::<Vec<_>>().join(" ")
    }
}

/// The value at the start of `text`, and what follows it.
fn value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            character if character.is_whitespace() && !quoted => return Ok((value, &text[at..])),
            character => value.push(character),
        }
    }
    if quoted {
        Err("a quoted value has no end".to_owned())
    } else {
        Ok((value, ""))
    }
}

#[cfg(test)]
mod tests {
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
    fn words_about_a_malformed_string_show_none_of_it() {
        for malformed in ["secret", "a='secret", "a b=secret"] {
            let Err(words) = Conninfo::parse(malformed) else {
                panic!("{malformed} was accepted");
            };
            assert!(!words.contains("secret"), "{words}");
        }
    }

    #[test]
    fn a_password_file_becomes_the_password() {
        let path = std::env::temp_dir().join(format!("conninfo-{}", std::process::id()));
        fs::write(&path, "it's\nsecond line\n").unwrap();
        let text = format!("user=a passfile='{}'", path.display());
        let info = Conninfo::parse(&text).unwrap().with_password_read();
        fs::remove_file(&path).unwrap();
        let Ok(info) = info else { panic!("unreadable") };
        assert_eq!(info.get("password"), Some("it's"));
        assert_eq!(info.get("passfile"), None);
    }
}
