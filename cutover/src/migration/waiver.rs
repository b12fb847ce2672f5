use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What an operator accepted by name when the migration was made: a check, or one object of it.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Waiver {
    check: String,
    object: Option<String>,
}

impl Waiver {
    /// Whether it is about `object` of the check `id`, or about the check as a whole.
    pub fn covers(&self, id: &str, object: Option<&str>) -> bool {
        self.check == id && self.object.as_deref() == object
    }
}

impl FromStr for Waiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (check, object) = match text.split_once('=') {
            Some((check, object)) => (check, Some(object)),
            None => (text, None),
        };
        let named = |&(id, objects): &(&str, bool)| id == check && objects == object.is_some();
        if !WAIVABLE.iter().any(named) || object == Some("") {
            return Err(format!(
                "{text:?} is nothing that can be waived; allowed: {}",
                allowed()
            ));
        }
        Ok(Self {
            check: check.to_owned(),
            object: object.map(str::to_owned),
        })
    }
}

impl TryFrom<String> for Waiver {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Waiver> for String {
    fn from(waiver: Waiver) -> Self {
        waiver.to_string()
    }
}

impl fmt::Display for Waiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{}={object}", self.check),
            None => f.write_str(&self.check),
        }
    }
}

fn allowed() -> String {
    let one = |&(id, objects): &(&str, bool)| match objects {
        true => format!("{id}=NAME"),
        false => id.to_owned(),
    };
    WAIVABLE.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The checks that give way to an operator's word, and whether it names one object of theirs.
const WAIVABLE: [(&str, bool); 3] = [("S6", true), ("S9", false), ("S11", false)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiver_names_a_check_that_can_be_waived() {
        let waiver: Waiver = "S11".parse().unwrap();
        assert!(waiver.covers("S11", None) && !waiver.covers("S11", Some("x")));
        assert_eq!(waiver.to_string(), "S11");
        let waiver: Waiver = "S6=Patroni heartbeat".parse().unwrap();
        assert!(waiver.covers("S6", Some("Patroni heartbeat")) && !waiver.covers("S6", None));
        for refused in ["S4", "S11=x", "S11=", "S6", "S6=", ""] {
            let error = refused.parse::<Waiver>().unwrap_err();
            assert!(error.contains("S6=NAME, S9, S11"), "{error}");
        }
    }
}
