//! Types that a client asks for and that nobody serves: it is told nothing, and keeps its stream.

/// What was asked for so far, to be mentioned once.
#[derive(Debug, Default)]
pub(super) struct Unserved(Vec<Box<str>>);

impl Unserved {
    /// Says whether this is news. What is beyond the bounds is not.
    pub(super) fn note(&mut self, type_url: &str) -> bool {
        let known = self.0.iter().any(|known| **known == *type_url);
        if known || self.0.len() == MAX_TYPES || type_url.len() > MAX_BYTES {
            return false;
        }
        self.0.push(type_url.into());
        true
    }
}

/// Envoy knows about twice as many types as are served here.
const MAX_TYPES: usize = 8;
const MAX_BYTES: usize = 256;
