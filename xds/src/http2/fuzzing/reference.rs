//! The `h2` crate's codec, which reads and writes frames and header blocks in memory.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream as _;
use h2::{Codec, frame::Frame, proto::Error};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf, duplex};

#[derive(Debug)]
pub(super) struct Reference {
    codec: Codec<DuplexStream, Bytes>,
    wire: DuplexStream,
}

impl Reference {
    pub(super) fn new() -> Self {
        let (wire, io) = duplex(CAPACITY);
        Self {
            codec: Codec::new(io),
            wire,
        }
    }

    /// Returns every frame that `bytes` complete. Frames of unknown kinds, and header blocks
    /// that are not complete, are left out.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Vec<Result<Frame, Error>> {
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut self.wire).poll_write(&mut cx, bytes);
        assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()));
        let mut frames = Vec::new();
        while let Poll::Ready(Some(frame)) = Pin::new(&mut self.codec).poll_next(&mut cx) {
            let failed = frame.is_err();
            frames.push(frame);
            if failed {
                break;
            }
        }
        frames
    }

    /// Returns the bytes of `frame`.
    pub(super) fn write(&mut self, frame: Frame) -> Vec<u8> {
        let mut cx = Context::from_waker(Waker::noop());
        self.codec.buffer(frame).expect("h2 takes the frame");
        let flushed = self.codec.flush(&mut cx);
        assert!(matches!(flushed, Poll::Ready(Ok(()))));
        let mut memory = vec![0; CAPACITY];
        let mut buffer = ReadBuf::new(&mut memory);
        let read = Pin::new(&mut self.wire).poll_read(&mut cx, &mut buffer);
        assert!(matches!(read, Poll::Ready(Ok(()))));
        buffer.filled().to_vec()
    }

    pub(super) fn set_table_size(&mut self, size: usize) {
        self.codec.set_send_header_table_size(size);
    }
}

/// The capacity of the pipe between both ends, in bytes: several of the largest frames.
const CAPACITY: usize = 1 << 17;
