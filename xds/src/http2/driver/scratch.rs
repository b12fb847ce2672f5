use std::cell::Cell;

/// Buffers that a connection needs only while it is polled. Each thread has one set for all.
pub(super) struct Scratch {
    pub(super) input: Box<[u8]>,
    pub(super) output: Vec<u8>,
}

impl Scratch {
    pub(super) fn take() -> Box<Self> {
        SCRATCH.take().unwrap_or_default()
    }

    /// Returns the buffers to the thread, with `output` unless it has grown too large.
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

/// The bytes that one client may send before others are served: some forty ACKs.
pub(super) const TURN: usize = 8192;
/// The largest output buffer that is kept, in bytes.
const OUTPUT: usize = 1 << 16;
