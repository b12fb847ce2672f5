//! A number of 64 bits for a key, mixed by multiplications of 128 bits.

/// The fingerprint of these words.
pub(crate) fn of(words: [u64; 5]) -> u64 {
    let mut lanes = LANES;
    for word in words {
        lanes = [
            fold(lanes[0] ^ word, STEP[0]).rotate_left(23) ^ lanes[1],
            fold(lanes[1] ^ word.rotate_left(32), STEP[1]).wrapping_add(lanes[0]),
        ];
    }
    fold(lanes[0] ^ STEP[1], lanes[1] ^ STEP[0])
}

/// The high half of the product onto the low half.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let high = u64::try_from(product >> 64).unwrap_or_default();
    let low = u64::try_from(product & u128::from(u64::MAX)).unwrap_or_default();
    low ^ high
}

/// Digits of pi, odd.
const LANES: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345];
const STEP: [u64; 2] = [0xa409_3822_299f_31d1, 0x082e_fa98_ec4e_6c89];
