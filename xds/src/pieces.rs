//! What clients send, looked at piece by piece. Two bytes can be a message that takes hundreds
//! once it is decoded: nothing has to be made of one that nobody reads.

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, check_wire_type, decode_key, skip_field},
};

/// Gives `take` what a message has under `tag`, piece by piece: messages, encoded,
/// or texts.
///
/// # Errors
/// If it is no message, and `take`'s own.
pub(crate) fn each(
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
        each(message, tag, |piece| {
            pieces.push(piece.to_vec());
            Ok(())
        })?;
        Ok(pieces)
    }

    #[test]
    fn the_pieces_of_one_tag_come_in_turn_and_others_are_left_out() {
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
    fn bytes_that_are_no_message_have_no_pieces() {
        for bytes in [&[0x12, 2, b'a'][..], &[0x12], &[0x10, 1], &[0xff; 12]] {
            assert!(pieces(bytes, 2).is_err(), "{bytes:?}");
        }
    }
}
