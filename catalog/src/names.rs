use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a name was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{kind} name {name:?} is not allowed: 1 to 63 characters, a lower-case letter or digit \
     first, then lower-case letters, digits, '-', '_' or '.'"
)]
pub struct NameError {
    kind: &'static str,
    name: String,
}

/// Names become parts of Envoy resource names, store keys and file names. All names therefore have one
/// narrow alphabet.
pub(crate) fn check(kind: &'static str, name: &str) -> Result<(), NameError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let valid = name.len() <= MAX_LEN
        && name.starts_with(plain)
        && name
            .chars()
            .all(|c| plain(c) || matches!(c, '-' | '_' | '.'));
    if valid {
        Ok(())
    } else {
        Err(NameError {
            kind,
            name: name.to_owned(),
        })
    }
}

/// The limit of a DNS label, and of a PostgreSQL identifier.
const MAX_LEN: usize = 63;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks `name`.
            pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
                let name = name.into();
                check($kind, &name)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The operator's name of one running PostgreSQL server.
    ServerName,
    "server"
);
name!(
    /// The name by which applications ask for a database.
    DatabaseName,
    "database"
);
name!(
    /// The name of a sidecar group.
    GroupName,
    "group"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_to_its_alphabet() {
        assert!(ServerName::new("orders-rds.eu_1").is_ok());
        for bad in ["", "-a", "A", "a b", "a/b", &"x".repeat(64)] {
            assert!(ServerName::new(bad).is_err(), "{bad:?}");
        }
    }
}
