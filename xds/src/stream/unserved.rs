/// The types that a client has asked for and that are not served. Such requests get no answer, and
/// the stream stays open. Each type is logged once.
#[derive(Debug, Default)]
pub(super) struct UnservedTypes(Vec<Box<str>>);

impl UnservedTypes {
    /// Returns whether the type is new. Types beyond the bounds count as known.
    pub(super) fn insert(&mut self, type_url: &str) -> bool {
        let known = self.0.iter().any(|known| **known == *type_url);
        if known || self.0.len() == MAX_TYPES || type_url.len() > MAX_BYTES {
            return false;
        }
        self.0.push(type_url.into());
        true
    }
}

/// Envoy has about twice as many types as are served here.
const MAX_TYPES: usize = 8;
const MAX_BYTES: usize = 256;
