//! Reads single fields of encoded messages. A message of two bytes can take hundreds once it is
//! decoded, so fields that are not needed are skipped instead.

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, check_wire_type, decode_key, skip_field},
};

/// Calls `take` with each value of the field `tag`: the bytes of an encoded message or of a string.
///
/// # Errors
/// If `message` is not a valid message, or `take` fails.
pub(crate) fn for_each_field(
    mut message: &[u8],
    tag: u32,
    mut take: impl FnMut(&[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while !message.is_empty() {
        let (found, wire_type) = decode_key(&mut message)?;
        let field = message;
        skip_field(wire_type, found, &mut message, DecodeContext::default())?;
        if found == tag {
            check_wire_type(WireType::LengthDelimited, wire_type)?;
            let mut piece = &field[..field.len() - message.len()];
            prost::decode_length_delimiter(&mut piece)?;
            take(piece)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(message: &[u8], tag: u32) -> Result<Vec<Vec<u8>>, DecodeError> {
        let mut pieces = Vec::new();
        for_each_field(message, tag, |piece| {
            pieces.push(piece.to_vec());
            Ok(())
        })?;
        Ok(pieces)
    }

    #[test]
    fn the_values_of_one_tag_come_in_order_and_others_are_skipped() {
        let message = [
            &[0x08, 7][..],
            &[0x12, 1, b'a'],
            &[0x1a, 1, b'x'],
            &[0x12, 0],
        ]
        .concat();
        assert_eq!(pieces(&message, 2).unwrap(), [&b"a"[..], b""]);
    }

    #[test]
    fn invalid_messages_are_an_error() {
        for bytes in [&[0x12, 2, b'a'][..], &[0x12], &[0x10, 1], &[0xff; 12]] {
            assert!(pieces(bytes, 2).is_err(), "{bytes:?}");
        }
    }
}
