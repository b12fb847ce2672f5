use std::fmt;

use sha2::{Digest as _, Sha256};

/// A hash of content: 128 bits of SHA-256, 32 hexadecimal digits on the wire. Equal content has equal
/// versions after a restart and on other servers.
///
/// The version of a set is the sum of one hash per resource. It is updated one resource at a time and
/// does not depend on their order. Two different sets have equal sums with a probability of 2⁻¹²⁸. A
/// deliberate collision needs thousands of chosen resources, and only the operator chooses
/// resources.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version([u8; 16]);

impl Version {
    /// The version of an empty set.
    pub(crate) const EMPTY: Self = Self([0; 16]);

    pub(crate) fn of(content: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(content))
    }

    /// The version of this content with a TTL. A different TTL is different content.
    pub(super) fn with_ttl(self, seconds: u64, nanos: u32) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        hash.update(seconds.to_be_bytes());
        hash.update(nanos.to_be_bytes());
        Self::finish(hash)
    }

    /// The hash of this content under a name. A resource adds it to the version of its set.
    pub(super) fn with_name(self, name: &str) -> Self {
        let mut hash = Sha256::new_with_prefix(self.0);
        hash.update(name.as_bytes());
        Self::finish(hash)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.number().wrapping_add(other.number()).to_be_bytes())
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self(self.number().wrapping_sub(other.number()).to_be_bytes())
    }

    /// Parses what [`fmt::Display`] writes. Any other text is not a version of this library.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hexadecimal {
            return None;
        }
        let number = u128::from_str_radix(text, 16).ok()?;
        Some(Self(number.to_be_bytes()))
    }

    fn finish(hash: Sha256) -> Self {
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&hash.finalize()[..16]);
        Self(prefix)
    }

    const fn number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.number())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_survives_the_wire_and_a_foreign_one_is_none() {
        let version = Version::of(b"content");
        assert_eq!(Version::parse(&version.to_string()), Some(version));
        assert_eq!(Version::parse("7"), None);
        assert_eq!(Version::parse("+0000000000000000000000000000000"), None);
    }

    #[test]
    fn a_sum_depends_on_its_members_and_on_no_order() {
        let [a, b] = [
            Version::of(b"a").with_name("x"),
            Version::of(b"b").with_name("y"),
        ];
        assert_eq!(a.plus(b), b.plus(a));
        assert_eq!(a.plus(b).minus(a), b);
        let exchanged = Version::of(b"a")
            .with_name("y")
            .plus(Version::of(b"b").with_name("x"));
        assert_ne!(a.plus(b), exchanged);
    }
}
