//! The tables behind an index: RFC 7541 appendix A, and the dynamic table of section 2.3.2.

use std::collections::VecDeque;

/// The fields that the encoder has indexed, newest first.
#[derive(Debug)]
pub(super) struct DynamicTable {
    fields: VecDeque<Field>,
    size: usize,
    /// The size that the encoder has chosen.
    max_size: usize,
    /// The largest size it may choose, in bytes as section 4.1 counts them.
    limit: usize,
}

/// Name and value.
type Field = (Box<[u8]>, Box<[u8]>);

impl DynamicTable {
    pub(super) const fn new() -> Self {
        Self {
            fields: VecDeque::new(),
            size: 0,
            max_size: DEFAULT_SIZE,
            limit: DEFAULT_SIZE,
        }
    }

    /// Sets the limit, once the encoder has acknowledged it.
    pub(super) fn limit(&mut self, limit: usize) {
        self.limit = limit;
        self.max_size = self.max_size.min(limit);
        self.evict(0);
    }

    /// Sets the size that the encoder has chosen. `None` if it is above the limit.
    pub(super) fn resize(&mut self, size: usize) -> Option<()> {
        if size > self.limit {
            return None;
        }
        self.max_size = size;
        self.evict(0);
        Some(())
    }

    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = size_of(name, value);
        self.evict(size);
        if size <= self.max_size {
            self.fields.push_front((name.into(), value.into()));
            self.size += size;
        }
    }

    /// Returns the field at an index over both tables. `None` if there is none.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let at = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(at) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.fields.get(at - STATIC.len())?;
        Some((name, value))
    }

    fn evict(&mut self, room: usize) {
        while self.size + room > self.max_size
            && let Some((name, value)) = self.fields.pop_back()
        {
            self.size -= size_of(&name, &value);
        }
        if self.fields.is_empty() {
            self.fields = VecDeque::new();
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(super) const fn size(&self) -> usize {
        self.size
    }
}

pub(super) fn size_of(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + 32
}

/// The size in bytes that encoders may use until they are told otherwise.
const DEFAULT_SIZE: usize = 4096;

const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];
