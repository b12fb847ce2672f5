//! What the store of a control plane under test and its overseer say to each other: a line each.

use std::collections::BTreeSet;

use pointsman_catalog::store::Write;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The environment variable with the path of the overseer's socket.
pub(super) const SOCKET: &str = "POINTSMAN_CRASH_OVERSEER";

/// On which side of a write something happens.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Nothing is written yet.
    Before,
    /// It is written and durable, and the writer was not told.
    After,
}

impl Point {
    /// Its name in tables.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// The store is at a write, and waits for a [`Verdict`].
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Question {
    /// Where it stands.
    pub point: Point,
    /// What is written.
    pub label: String,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It goes on.
    Go,
    /// The writer hears that the store failed.
    Fail,
}

/// What `writes` are about: the journal's entries, or else the kinds of keys.
#[must_use]
pub(super) fn label(writes: &[Write]) -> String {
    let entries: Vec<String> = writes.iter().filter_map(entry).collect();
    if !entries.is_empty() {
        return format!("journal: {}", entries.join(", "));
    }
    let kinds = writes
        .iter()
        .filter_map(|write| write.key.as_str().split('/').next());
    let kinds: BTreeSet<&str> = kinds.collect();
    kinds.into_iter().collect::<Vec<_>>().join("+")
}

/// Step and kind of the journal's entry that `write` makes.
fn entry(write: &Write) -> Option<String> {
    if !write.key.as_str().starts_with("journal/") {
        return None;
    }
    let stored: Value = serde_json::from_slice(write.value.as_ref()?).ok()?;
    let part = |name: &str| stored.pointer(name).and_then(Value::as_str);
    let (step, kind) = (part("/record/step")?, part("/record/kind")?);
    Some(format!("{step} {kind}").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use pointsman_catalog::store::{Key, Precondition};

    use super::*;

    fn write(key: &str, value: &str) -> Write {
        Write {
            key: Key::new(key),
            value: Some(value.as_bytes().to_vec()),
            when: Precondition::Any,
        }
    }

    #[test]
    fn a_journal_write_is_called_after_its_entries() {
        let writes = [
            write(
                "journal/m/0000000001",
                r#"{"format":1,"record":{"step":"hold","kind":"done"}}"#,
            ),
            write(
                "journal/m/0000000002",
                r#"{"format":1,"record":{"step":"fence","kind":"intent"}}"#,
            ),
            write("migrations/m", "{}"),
        ];
        assert_eq!(label(&writes), "journal: hold done, fence intent");
    }

    #[test]
    fn another_write_is_called_after_its_keys() {
        let writes = [
            write("routes/orders", "{}"),
            write("routes/billing", "{}"),
            write("epoch", "1"),
        ];
        assert_eq!(label(&writes), "epoch+routes");
    }
}
