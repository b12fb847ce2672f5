//! The static Huffman code, RFC 7541 appendix B. It is a canonical code, so it follows from the
//! number of codes of each length and from the symbols in the order of their codes.

/// Appends the decoded string. `None` if the input is malformed or decodes to more than `limit`
/// bytes.
pub(super) fn decode(input: &[u8], limit: usize, out: &mut Vec<u8>) -> Option<()> {
    let end = out.len() + limit;
    let (mut bits, mut available) = (0_u64, 0_u32);
    let mut input = input.iter();
    loop {
        while available <= 32
            && let Some(&byte) = input.next()
        {
            bits = bits << 8 | u64::from(byte);
            available += 8;
        }
        if available < MIN_LENGTH {
            break;
        }
        match next(bits, available) {
            Some((symbol, length)) => {
                if out.len() == end {
                    return None;
                }
                out.push(symbol);
                available -= length;
                bits &= (1 << available) - 1;
            }
            None => break,
        }
    }
    // The rest must be padding: fewer than eight bits, all ones.
    (available < 8 && bits == (1 << available) - 1).then_some(())
}

/// Returns the first symbol in the lowest `available` bits and the length of its code. `None` if
/// they hold no complete code, or the code for the end of the string, which must not occur.
fn next(bits: u64, available: u32) -> Option<(u8, u32)> {
    let (mut first_code, mut first_symbol) = (0_u64, 0_usize);
    for (length, &codes) in (MIN_LENGTH..=available.min(MAX_LENGTH)).zip(&CODES) {
        let code = bits >> (available - length);
        let place = code - first_code;
        if place < u64::from(codes) {
            let symbol = SYMBOLS.get(first_symbol + usize::try_from(place).ok()?)?;
            return Some((*symbol, length));
        }
        first_code = (first_code + u64::from(codes)) << 1;
        first_symbol += usize::from(codes);
    }
    None
}

const MIN_LENGTH: u32 = 5;
const MAX_LENGTH: u32 = 30;

/// The number of codes by length, from 5 to 30 bits. The last one ends the string.
const CODES: [u8; 26] = [
    10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4,
];

/// The symbols in the order of their codes, without the end of the string.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57,
    61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71,
    72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119,
    120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91,
    93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161,
    167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156,
    160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1,
    135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174,
    175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206, 215, 225,
    236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252,
    253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 127, 220, 249, 10, 13, 22,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(input, 64, &mut out).map(|()| out)
    }

    /// RFC 7541, C.4.1, C.6.1.
    #[test]
    fn the_examples_of_the_standard_decode() {
        let name = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(decoded(&name).unwrap(), b"www.example.com");
        let status = [0x64, 0x02];
        assert_eq!(decoded(&status).unwrap(), b"302");
        let location = [
            0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82,
            0xae, 0x43, 0xd3,
        ];
        assert_eq!(decoded(&location).unwrap(), b"https://www.example.com");
    }

    #[test]
    fn every_symbol_has_its_own_code() {
        let codes: u32 = CODES.iter().map(|&codes| u32::from(codes)).sum();
        assert_eq!(codes, 257);
        let mut symbols = SYMBOLS;
        symbols.sort_unstable();
        assert!(symbols.iter().zip(0..=255).all(|(a, b)| *a == b));
    }

    #[test]
    fn padding_of_a_byte_or_of_zeros_and_an_end_of_string_are_errors() {
        assert_eq!(decoded(&[]).unwrap(), b"");
        assert_eq!(decoded(&[0b0000_0111]).unwrap(), b"0");
        assert!(decoded(&[0b0000_0000]).is_none());
        assert!(decoded(&[0b0000_0111, 0xff]).is_none());
        assert!(decoded(&[0xff, 0xff, 0xff, 0xff]).is_none());
    }

    #[test]
    fn no_more_is_decoded_than_allowed() {
        assert!(decode(&[0; 100], 64, &mut Vec::new()).is_none());
    }
}
