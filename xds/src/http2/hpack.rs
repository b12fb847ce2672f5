//! Header compression, RFC 7541. Decoding is complete; encoding uses no table.

mod decoder;
mod encoder;
mod huffman;
mod tables;

pub(super) use self::{
    decoder::Decoder,
    encoder::{field, status},
};

#[cfg(fuzzing)]
pub(super) use self::decoder::HpackError;
