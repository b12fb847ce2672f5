//! Reads where a password is: `{ file = "/PATH" }` or `{ environment = "NAME" }`.

use super::reader::{Field, Fields, Place, Reader};
use crate::PasswordSource;

/// The source in field `name`, if there is one, and where it stands.
pub(super) fn source<'a>(
    reader: &mut Reader<'a>,
    parent: &mut Fields<'a>,
    name: &str,
) -> Option<(PasswordSource, Place)> {
    let mut fields = reader.optional_table(parent, name, FORM)?;
    let at = fields.at();
    let file = reader.optional(&mut fields, "file", FORM);
    let variable = reader.optional(&mut fields, "environment", FORM);
    reader.finish(fields, &["file", "environment"]);
    let source = match (file, variable) {
        (Some(Field { value, at }), None) => {
            if !value.starts_with('/') {
                reader.fault(&at, "a relative path; allowed: one that begins with '/'");
            }
            PasswordSource::File(value.into())
        }
        (None, Some(Field { value, at })) => {
            if value.is_empty() || value.contains(['=', '\0']) {
                reader.fault(&at, "no name of a variable; allowed: one without '='");
            }
            PasswordSource::Environment(value)
        }
        (Some(_), Some(_)) => {
            reader.fault(&at, &format!("two sources; allowed: {FORM}"));
            return None;
        }
        (None, None) => {
            reader.fault(&at, &format!("no source; allowed: {FORM}"));
            return None;
        }
    };
    Some((source, at))
}

const FORM: &str = "{ file = \"/PATH\" } or { environment = \"NAME\" }";
