use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a stored form.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Format(pub u32);

/// The format of a stored value, where it names one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FoundFormat(pub Option<Format>);

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for FoundFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(format) => write!(f, "in format {format}"),
            None => f.write_str("without a format number"),
        }
    }
}
