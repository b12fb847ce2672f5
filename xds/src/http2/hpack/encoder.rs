//! Encodes literals without indexing and without Huffman coding, which need no table.

/// Appends `:status`.
pub(in crate::http2) fn status(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        out.push(INDEXED | STATUS_200);
    } else {
        integer(out, 0, 4, usize::from(STATUS_200));
        string(out, status.to_string().as_bytes());
    }
}

/// Appends a field. `name` must be in lower case.
pub(in crate::http2) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(0);
    string(out, name.as_bytes());
    string(out, value);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// RFC 7541, section 5.1.
fn integer(out: &mut Vec<u8>, first: u8, prefix: u8, value: usize) {
    let max = (1_u8 << prefix) - 1;
    if let Ok(small) = u8::try_from(value)
        && small < max
    {
        out.push(first | small);
        return;
    }
    out.push(first | max);
    let mut rest = value - usize::from(max);
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap_or_default());
}

const INDEXED: u8 = 0x80;
/// The index of `:status: 200` in the static table. Its name serves for other values, too.
const STATUS_200: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, C.1.
    #[test]
    fn the_integers_of_the_standard_are_encoded_as_it_says() {
        let encoded = |prefix, value| {
            let mut out = Vec::new();
            integer(&mut out, 0, prefix, value);
            out
        };
        assert_eq!(encoded(5, 10), [0b0000_1010]);
        assert_eq!(encoded(5, 1337), [0b0001_1111, 0b1001_1010, 0b0000_1010]);
        assert_eq!(encoded(7, 42), [42]);
    }

    #[test]
    fn what_is_encoded_decodes() {
        let mut block = Vec::new();
        status(&mut block, 200);
        status(&mut block, 404);
        field(&mut block, "content-type", b"application/grpc");
        field(&mut block, "grpc-message", &[b'x'; 300]);
        let mut fields = Vec::new();
        let mut decoder = super::super::Decoder::new(4096);
        decoder
            .decode(&block, |name, value| {
                fields.push((name.to_vec(), value.to_vec()));
            })
            .unwrap();
        assert_eq!(fields[0], (b":status".to_vec(), b"200".to_vec()));
        assert_eq!(fields[1], (b":status".to_vec(), b"404".to_vec()));
        assert_eq!(
            fields[2],
            (b"content-type".to_vec(), b"application/grpc".to_vec())
        );
        assert_eq!(fields[3].1.len(), 300);
    }
}
