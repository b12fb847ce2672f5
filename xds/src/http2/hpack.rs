//! Header compression, RFC 7541: all of decoding, and of encoding the part that needs no
//! state.

mod decoder;
mod encoder;
mod huffman;
mod tables;

pub(super) use self::{
    decoder::Decoder,
    encoder::{field, status},
};
