//! Which fields of a declaration differ from the catalogue.

use crate::{Database, PasswordSource, Server};

/// A field with another value than before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldChange {
    /// As the file writes it, such as `listen.writer`.
    pub field: &'static str,
    /// The values; `None` of a connection string and of where a password is, which are never shown.
    pub values: Option<(String, String)>,
}

impl FieldChange {
    fn shown(field: &'static str, before: impl ToString, after: impl ToString) -> Option<Self> {
        let (before, after) = (before.to_string(), after.to_string());
        (before != after).then_some(Self {
            field,
            values: Some((before, after)),
        })
    }

    fn hidden<T: PartialEq>(field: &'static str, before: &T, after: &T) -> Option<Self> {
        (before != after).then_some(Self {
            field,
            values: None,
        })
    }
}

/// A value whose fields can be compared.
pub(super) trait Fields {
    fn differences(&self, after: &Self) -> Vec<FieldChange>;
}

impl Fields for Server {
    fn differences(&self, after: &Self) -> Vec<FieldChange> {
        let password = |field, before: &Option<PasswordSource>, after: &Option<PasswordSource>| {
            FieldChange::hidden(field, before, after)
        };
        [
            FieldChange::shown("endpoint", &self.endpoint, &after.endpoint),
            FieldChange::shown("fence", self.fence, after.fence),
            FieldChange::hidden("control", &self.control, &after.control),
            password(
                "control_password",
                &self.control_password,
                &after.control_password,
            ),
            FieldChange::hidden("replication", &self.replication, &after.replication),
            password(
                "replication_password",
                &self.replication_password,
                &after.replication_password,
            ),
            FieldChange::hidden("probe", &self.probe, &after.probe),
            password(
                "probe_password",
                &self.probe_password,
                &after.probe_password,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Its `writer` and `readers` never change.
impl Fields for Database {
    fn differences(&self, after: &Self) -> Vec<FieldChange> {
        let (from, to) = (self.listen, after.listen);
        [
            FieldChange::shown("datname", &self.datname, &after.datname),
            FieldChange::shown("listen.writer", from.writer, to.writer),
            FieldChange::shown("listen.reader", from.reader, to.reader),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
