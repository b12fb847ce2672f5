use std::cell::Cell;

/// Memory that a connection needs only while it is polled. One for each thread does for all.
pub(super) struct Scratch {
    pub(super) input: Box<[u8]>,
    pub(super) output: Vec<u8>,
}

impl Scratch {
    pub(super) fn take() -> Box<Self> {
        SCRATCH.take().unwrap_or_default()
    }

    /// Keeps it for the thread's next connection, with `output` if that is not too large.
    pub(super) fn put(mut self: Box<Self>, output: Option<Vec<u8>>) {
        if let Some(memory) = output.filter(|memory| memory.capacity() <= OUTPUT) {
            self.output = memory;
        }
        SCRATCH.set(Some(self));
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            input: vec![0; TURN].into(),
            output: Vec::new(),
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// What is read of one client before others have their turn, in bytes: some forty ACKs.
pub(super) const TURN: usize = 8192;
/// In bytes: what one write rarely exceeds.
const OUTPUT: usize = 1 << 16;
