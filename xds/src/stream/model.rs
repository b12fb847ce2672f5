//! A small reference model of the protocol, written from its specification: what a client has
//! and may be told, in sets of names, without a thought of how the machine keeps it. Random
//! interleavings of everything that can happen are played to both, and each response is held
//! against the model.

mod peer;
mod published_state;
mod run;
mod view;

pub(crate) use self::run::play;

/// Where decisions come from: a generator of random numbers, or a fuzzer's bytes.
pub(crate) trait Choices {
    /// From 0 to `limit - 1`.
    fn below(&mut self, limit: usize) -> usize;

    /// Once in so many.
    fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == many - 1
    }
}

/// Decisions that were written down. When they are used up, the first choice is always taken.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    pub(crate) choices: &'a [u8],
    at: usize,
}

impl<'a> Script<'a> {
    pub(crate) fn new(choices: &'a [u8]) -> Self {
        Self { choices, at: 0 }
    }
}

impl Choices for Script<'_> {
    fn below(&mut self, limit: usize) -> usize {
        let choice = self.choices.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        usize::from(choice) % limit
    }
}
