use super::{
    huffman,
    tables::{DynamicTable, size_of},
};

/// Decodes the header blocks of one connection, in order.
#[derive(Debug)]
pub(in crate::http2) struct Decoder {
    table: DynamicTable,
    /// The longest list of fields in one block, in bytes as RFC 9113, 6.5.2 counts them.
    max_list: usize,
}

/// A header block that does not decode, or is too long. The decoder cannot be used after it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::http2) struct HpackError;

impl Decoder {
    pub(in crate::http2) const fn new(max_list: usize) -> Self {
        Self {
            table: DynamicTable::new(),
            max_list,
        }
    }

    /// Takes away the table, once the client has acknowledged that there is none.
    pub(in crate::http2) fn stop_indexing(&mut self) {
        self.table.limit(0);
    }

    /// Calls `each` with the name and value of every field in a complete block.
    pub(in crate::http2) fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), HpackError> {
        let mut input = Input(block);
        let (mut name, mut value) = (Vec::new(), Vec::new());
        let mut room = self.max_list;
        let mut fields = false;
        while let Some(&first) = input.0.first() {
            let indexing = match first {
                0x80.. => {
                    let index = input.integer(7)?;
                    let (name, value) = self.table.get(index).ok_or(HpackError)?;
                    room = room.checked_sub(size_of(name, value)).ok_or(HpackError)?;
                    each(name, value);
                    fields = true;
                    continue;
                }
                0x40.. => true,
                0x20.. => {
                    let size = input.integer(5)?;
                    if fields {
                        return Err(HpackError);
                    }
                    self.table.resize(size).ok_or(HpackError)?;
                    continue;
                }
                _ => false,
            };
            let index = input.integer(if indexing { 6 } else { 4 })?;
            name.clear();
            value.clear();
            if index == 0 {
                input.string(room, &mut name)?;
            } else {
                name.extend_from_slice(self.table.get(index).ok_or(HpackError)?.0);
            }
            input.string(room, &mut value)?;
            room = room.checked_sub(size_of(&name, &value)).ok_or(HpackError)?;
            if indexing {
                self.table.insert(&name, &value);
            }
            each(&name, &value);
            fields = true;
        }
        Ok(())
    }

    #[cfg(fuzzing)]
    pub(in crate::http2) const fn table_size(&self) -> usize {
        self.table.size()
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Result<u8, HpackError> {
        let (&byte, rest) = self.0.split_first().ok_or(HpackError)?;
        self.0 = rest;
        Ok(byte)
    }

    /// RFC 7541, section 5.1. Five bytes are what other
    /// implementations take, too, and more than a header block needs.
    fn integer(&mut self, prefix: u32) -> Result<usize, HpackError> {
        let max = (1_u8 << prefix) - 1;
        let first = self.byte()? & max;
        let mut value = usize::from(first);
        if first < max {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(HpackError)
    }

    /// Section 5.2.
    fn string(&mut self, limit: usize, out: &mut Vec<u8>) -> Result<(), HpackError> {
        let huffman = self.0.first().ok_or(HpackError)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(HpackError)?;
        self.0 = rest;
        if huffman {
            return huffman::decode(text, limit, out).ok_or(HpackError);
        }
        if text.len() > limit {
            return Err(HpackError);
        }
        out.extend_from_slice(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
