//! A small reference model of the protocol, written from its specification and independent of the
//! machine. It keeps what a client has, and what it may be sent, as sets of names. Random sequences
//! of events are run against both, and each response is compared with the model.

mod peer;
mod run;
mod snapshot_generator;
mod view;

pub(crate) use self::run::play;

/// The source of choices: random numbers, or a fuzzer's bytes.
pub(crate) trait Choices {
    /// From 0 to `limit - 1`.
    fn below(&mut self, limit: usize) -> usize;

    /// Whether a choice with the probability of one in this number comes true.
    fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == many - 1
    }
}

/// Recorded choices. After the last one the first option is always taken.
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
