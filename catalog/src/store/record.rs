//! The form of a stored value: it is stored with the number of its format. A program that does not know
//! the format refuses the value.

use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, Error as _},
};

pub use super::format::{Format, FoundFormat};
use super::{Key, StoreError};

/// A value that is kept in the store.
pub trait Record: Serialize + DeserializeOwned {
    /// The format that this program writes and reads. It changes with every change of the
    /// serialised form.
    const FORMAT: Format;
}

/// The bytes of `record` at `key`.
///
/// # Errors
/// [`StoreError::Corrupt`] when it has no JSON form.
pub fn encode<T: Record>(key: &Key, record: &T) -> Result<Vec<u8>, StoreError> {
    let written = Written {
        format: T::FORMAT,
        record,
    };
    serde_json::to_vec(&written).map_err(|source| corrupt(key, source))
}

/// The record in `bytes`, which stand at `key`.
///
/// # Errors
/// [`StoreError::Format`] for another format than this program's, [`StoreError::Corrupt`] for
/// what is no record of this format, or has a field that this program would drop when it writes
/// the record back.
pub fn decode<T: Record>(key: &Key, bytes: &[u8]) -> Result<T, StoreError> {
    let head: Head = serde_json::from_slice(bytes).map_err(|source| corrupt(key, source))?;
    if head.format != Some(T::FORMAT) {
        return Err(StoreError::Format {
            key: key.clone(),
            found: FoundFormat(head.format),
            known: T::FORMAT,
        });
    }
    let mut unknown = Vec::new();
    let text = &mut serde_json::Deserializer::from_slice(bytes);
    let read: Result<Read<T>, _> = serde_ignored::deserialize(text, |field| {
        let field = field.to_string();
        // The head was read before.
        if field != "format" {
            unknown.push(field);
        }
    });
    let record = read.map_err(|source| corrupt(key, source))?.record;
    if unknown.is_empty() {
        return Ok(record);
    }
    let unknown = format!("this program does not know {}", unknown.join(", "));
    Err(corrupt(key, serde_json::Error::custom(unknown)))
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: Format,
    record: &'a T,
}

#[derive(Deserialize)]
struct Read<T> {
    record: T,
}

#[derive(Deserialize)]
struct Head {
    format: Option<Format>,
}

fn corrupt(key: &Key, source: serde_json::Error) -> StoreError {
    StoreError::Corrupt {
        key: key.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Serialize)]
    struct Lamp {
        lit: bool,
    }

    impl Record for Lamp {
        const FORMAT: Format = Format(2);
    }

    fn key() -> Key {
        Key::new("lamps/hall")
    }

    #[test]
    fn a_record_stands_beside_its_format() {
        let bytes = encode(&key(), &Lamp { lit: true }).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            r#"{"format":2,"record":{"lit":true}}"#
        );
        assert_eq!(decode::<Lamp>(&key(), &bytes).unwrap(), Lamp { lit: true });
    }

    #[test]
    fn another_format_is_refused_with_what_was_found_what_is_known_and_what_to_do() {
        let refused = |bytes: &str| {
            let read = decode::<Lamp>(&key(), bytes.as_bytes());
            read.unwrap_err().to_string()
        };
        assert_eq!(
            refused(r#"{"format":1,"record":{"on":true}}"#),
            "lamps/hall is stored in format 1, and this program reads format 2 only: go on with the \
             version of pointsman that wrote it, or let that version end its migrations and begin \
             with a new store (serve --init)"
        );
        let older = refused(r#"{"lit":true}"#);
        assert!(
            older.starts_with("lamps/hall is stored without a format number, and"),
            "{older}"
        );
    }

    #[test]
    fn a_field_that_would_be_dropped_is_refused_by_name() {
        let read = decode::<Lamp>(
            &key(),
            br#"{"format":2,"record":{"lit":true,"colour":"red"}}"#,
        );
        let refused = read.unwrap_err();
        assert!(
            matches!(&refused, StoreError::Corrupt { source, .. }
                if source.to_string().contains("record.colour")),
            "{refused:?}"
        );
    }

    #[test]
    fn what_is_no_record_of_its_format_is_corrupt() {
        let read = decode::<Lamp>(&key(), br#"{"format":2,"record":{"lit":"yes"}}"#);
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{read:?}");
    }
}
