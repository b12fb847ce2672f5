//! Received frames, and the requests in them.

use tokio::time::Instant;

use super::{
    Block, Connection, Failure, Phase, RECEIVE_WINDOW, control::depends_on, failure, protocol, size,
};
use crate::http2::{
    exchange::Service,
    frame::{
        self, ACK, END_HEADERS, END_STREAM, ErrorCode, HEADER_LENGTH, Header, Kind, MAX_PAYLOAD,
        PREFACE, PRIORITY,
    },
    request::Builder,
    stream::Stream,
};

impl<S: Service> Connection<S> {
    /// # Errors
    /// [`Failure`] ends the connection.
    pub(in crate::http2) fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<(), Failure> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, now)?;
            self.partial.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(bytes);
        let used = self.frames(&partial, now)?;
        self.partial = partial.split_off(used);
        Ok(())
    }

    /// Handles every complete frame. Returns how many bytes they have.
    fn frames(&mut self, bytes: &[u8], now: Instant) -> Result<usize, Failure> {
        let mut rest = bytes;
        if self.phase == Phase::Preface {
            let seen = rest.len().min(PREFACE.len());
            if rest[..seen] != PREFACE[..seen] {
                return Err(failure(ErrorCode::Protocol, "this is not HTTP/2"));
            }
            if seen < PREFACE.len() {
                return Ok(0);
            }
            rest = &rest[PREFACE.len()..];
            self.phase = Phase::Settings;
        }
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LENGTH>() {
            let header = Header::read(*header);
            if header.length > MAX_PAYLOAD {
                return Err(failure(ErrorCode::FrameSize, "a frame is too long"));
            }
            let Some((payload, after)) = after.split_at_checked(header.length) else {
                break;
            };
            self.frame(header, payload, now)?;
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn frame(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Failure> {
        let first = self.phase == Phase::Settings;
        if first && (header.kind != Kind::Settings || header.has(ACK)) {
            return Err(protocol("the settings do not come first"));
        }
        let continues =
            |block: &Block| header.kind == Kind::Continuation && header.stream == block.stream;
        if self.block.as_deref().is_some_and(|block| !continues(block)) {
            return Err(protocol("a frame interrupts a header section"));
        }
        let of_stream = match header.kind {
            Kind::Data
            | Kind::Headers
            | Kind::Priority
            | Kind::ResetStream
            | Kind::Continuation => Some(true),
            Kind::Settings | Kind::Ping | Kind::GoAway => Some(false),
            Kind::PushPromise | Kind::WindowUpdate | Kind::Unknown => None,
        };
        if of_stream.is_some_and(|of_stream| of_stream != (header.stream != 0)) {
            return Err(protocol(
                "a frame has a stream that it must not have, or none",
            ));
        }
        if header.kind != Kind::Data {
            self.spend(now)?;
        }
        match header.kind {
            Kind::Data => self.data(header, payload, now),
            Kind::Headers => self.headers(header, payload, now),
            Kind::Continuation => self.continuation(header, payload, now),
            Kind::Priority => self.priority(header, payload),
            Kind::ResetStream => self.reset_by_client(header, payload),
            Kind::Settings => self.settings(header, payload),
            Kind::Ping => self.pinged(header, payload),
            Kind::GoAway if payload.len() < 8 => Err(size()),
            Kind::GoAway | Kind::Unknown => Ok(()),
            Kind::WindowUpdate => self.window_update(header, payload),
            Kind::PushPromise => Err(protocol("a client cannot promise")),
        }
    }

    fn data(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Failure> {
        let length = u32::try_from(header.length).unwrap_or(u32::MAX);
        // The connection's window is refilled at once. What a stream has not processed yet is
        // bounded by the window of the stream.
        self.receive_window = self
            .receive_window
            .checked_sub(length)
            .ok_or_else(|| failure(ErrorCode::FlowControl, "more data than was allowed"))?;
        if self.receive_window < RECEIVE_WINDOW / 2 {
            let increment = RECEIVE_WINDOW - self.receive_window;
            frame::put_window_update(self.output.tail(), 0, increment);
            self.receive_window = RECEIVE_WINDOW;
        }
        let data = frame::unpadded(header, payload)
            .ok_or_else(|| protocol("the padding is longer than the frame"))?;
        let last = header.has(END_STREAM);
        if data.len() < SMALL && !last {
            self.spend(now)?;
        }
        let Some(stream) = self.streams.iter_mut().find(|s| s.id == header.stream) else {
            return self.data_of_no_stream(header.stream, now);
        };
        if stream.client_done {
            self.reset(header.stream, ErrorCode::StreamClosed);
            return Ok(());
        }
        let Some(window) = stream.receive_window.checked_sub(length) else {
            self.reset(header.stream, ErrorCode::FlowControl);
            return Ok(());
        };
        stream.receive_window = window;
        if !stream.measure(data.len(), last) {
            self.reset(header.stream, ErrorCode::Protocol);
            return Ok(());
        }
        if !data.is_empty() {
            stream.exchange.receive(data, now);
        }
        if last {
            stream.client_done = true;
            stream.exchange.finish();
        }
        stream.credit(header.length - data.len(), &mut self.output);
        Ok(())
    }

    fn data_of_no_stream(&mut self, id: u32, now: Instant) -> Result<(), Failure> {
        if id > self.last_stream {
            return Err(protocol("data for a stream that was not opened"));
        }
        if !self.ended.contains(&id) {
            self.spend(now)?;
            self.reset(id, ErrorCode::StreamClosed);
        }
        Ok(())
    }

    fn headers(&mut self, header: Header, payload: &[u8], now: Instant) -> Result<(), Failure> {
        if header.stream.is_multiple_of(2) {
            return Err(protocol("a client's streams have odd numbers"));
        }
        let mut fragment = frame::unpadded(header, payload)
            .ok_or_else(|| protocol("the padding is longer than the frame"))?;
        if header.has(PRIORITY) {
            let (priority, rest) = fragment.split_first_chunk::<5>().ok_or_else(size)?;
            if depends_on(priority) == header.stream {
                return Err(protocol("a stream depends on itself"));
            }
            fragment = rest;
        }
        let end_stream = header.has(END_STREAM);
        if header.has(END_HEADERS) {
            return self.section(header.stream, end_stream, fragment, now);
        }
        self.block = Some(Box::new(Block {
            stream: header.stream,
            end_stream,
            fragment: fragment.to_vec(),
        }));
        Ok(())
    }

    fn continuation(
        &mut self,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        let mut block = self
            .block
            .take()
            .ok_or_else(|| protocol("nothing is to be continued"))?;
        block.fragment.extend_from_slice(payload);
        if header.has(END_HEADERS) {
            return self.section(block.stream, block.end_stream, &block.fragment, now);
        }
        if block.fragment.len() > self.bounds.header_bytes as usize {
            return Err(failure(
                ErrorCode::EnhanceYourCalm,
                "a header section is too long",
            ));
        }
        self.block = Some(block);
        Ok(())
    }

    /// A complete header section. It is decoded even if its stream is refused, because later
    /// sections may refer to its fields.
    fn section(
        &mut self,
        id: u32,
        end_stream: bool,
        block: &[u8],
        now: Instant,
    ) -> Result<(), Failure> {
        let mut builder = Builder::default();
        self.decoder
            .decode(block, |name, value| builder.field(name, value))
            .map_err(|_| failure(ErrorCode::Compression, "a header section does not decode"))?;
        if let Some(stream) = self.stream(id) {
            if stream.client_done {
                self.reset(id, ErrorCode::StreamClosed);
            } else if end_stream && builder.is_trailers() && stream.measure(0, true) {
                stream.client_done = true;
                stream.exchange.finish();
            } else {
                self.reset(id, ErrorCode::Protocol);
            }
            return Ok(());
        }
        if id <= self.last_stream {
            if self.ended.contains(&id) {
                return Ok(());
            }
            return Err(failure(
                ErrorCode::StreamClosed,
                "headers for a closed stream",
            ));
        }
        self.last_stream = id;
        if self.leaving || self.streams.len() >= self.bounds.streams as usize {
            self.reset(id, ErrorCode::RefusedStream);
            return Ok(());
        }
        let Some((request, expected)) = builder.request() else {
            self.reset(id, ErrorCode::Protocol);
            return Ok(());
        };
        let exchange = self.service.open(request, now);
        let mut stream = Stream::new(id, exchange, self.initial_window);
        stream.expected = expected;
        if end_stream {
            if !stream.measure(0, true) {
                self.reset(id, ErrorCode::Protocol);
                return Ok(());
            }
            stream.client_done = true;
            stream.exchange.finish();
        }
        if self.streams.is_empty() {
            // Most connections carry one stream.
            self.streams.reserve_exact(1);
        }
        self.streams.push(stream);
        Ok(())
    }

    fn spend(&mut self, now: Instant) -> Result<(), Failure> {
        self.flood_budget
            .spend(now)
            .map_err(|_| failure(ErrorCode::EnhanceYourCalm, "too many frames for nothing"))
    }
}

/// Data frames with fewer bytes count against the flood budget. An ACK has more than a hundred.
const SMALL: usize = 32;
