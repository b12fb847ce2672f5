use std::fmt;

/// The number of a publish, counted over all groups of a cache. The start and the end of a canary
/// trial take a number, too.
///
/// A sequence is valid within one process. Resource versions survive a restart, sequences do not.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Sequence(u64);

impl Sequence {
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl From<u64> for Sequence {
    /// Makes a sequence of a number that [`Sequence::get`] returned in this process. No node ever
    /// converges on another number.
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
