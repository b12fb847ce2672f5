//! Frames that control the connection: settings, window updates, pings, resets.

use super::{Connection, Failure, Phase, failure, protocol, size};
use crate::http2::{
    exchange::Service,
    frame::{
        self, ACK, ErrorCode, Header, MAX_STREAM, MAX_WINDOW, SETTINGS_ENABLE_PUSH,
        SETTINGS_INITIAL_WINDOW_SIZE, SETTINGS_MAX_FRAME_SIZE,
    },
};

impl<S: Service> Connection<S> {
    pub(super) fn priority(&mut self, header: Header, payload: &[u8]) -> Result<(), Failure> {
        match payload.first_chunk::<5>() {
            Some(priority) if payload.len() == 5 => {
                if depends_on(priority) == header.stream {
                    return Err(protocol("a stream depends on itself"));
                }
                Ok(())
            }
            Some(_) | None => Err(size()),
        }
    }

    pub(super) fn reset_by_client(
        &mut self,
        header: Header,
        payload: &[u8],
    ) -> Result<(), Failure> {
        if header.stream > self.last_stream {
            return Err(protocol("a stream was reset that was not opened"));
        }
        if payload.len() != 4 {
            return Err(size());
        }
        self.streams.retain(|stream| stream.id != header.stream);
        Ok(())
    }

    pub(super) fn settings(&mut self, header: Header, payload: &[u8]) -> Result<(), Failure> {
        if header.has(ACK) {
            if !payload.is_empty() {
                return Err(size());
            }
            self.decoder.stop_indexing();
            return Ok(());
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(size());
        }
        for &[a, b, value @ ..] in settings {
            self.setting(u16::from_be_bytes([a, b]), u32::from_be_bytes(value))?;
        }
        self.phase = Phase::Open;
        frame::put_settings_ack(self.output.tail());
        Ok(())
    }

    fn setting(&mut self, name: u16, value: u32) -> Result<(), Failure> {
        match name {
            SETTINGS_ENABLE_PUSH if value > 1 => Err(protocol("push is on or off")),
            SETTINGS_MAX_FRAME_SIZE if !(MAX_FRAME_SIZES).contains(&value) => {
                Err(protocol("a size of frames out of range"))
            }
            SETTINGS_INITIAL_WINDOW_SIZE => {
                let window = i64::from(value);
                let grown = window - self.initial_window;
                self.initial_window = window;
                for stream in &mut self.streams {
                    stream.send_window += grown;
                }
                let windows = self.streams.iter().map(|stream| stream.send_window);
                if windows.chain([window]).any(|window| window > MAX_WINDOW) {
                    return Err(failure(ErrorCode::FlowControl, "a window is too large"));
                }
                Ok(())
            }
            // The other settings permit what this server does not do.
            _ => Ok(()),
        }
    }

    pub(super) fn pinged(&mut self, header: Header, payload: &[u8]) -> Result<(), Failure> {
        let data: [u8; 8] = payload.try_into().map_err(|_| size())?;
        if header.has(ACK) {
            self.pongs = self.pongs.wrapping_add(1);
        } else {
            frame::put_ping(self.output.tail(), ACK, data);
        }
        Ok(())
    }

    pub(super) fn window_update(&mut self, header: Header, payload: &[u8]) -> Result<(), Failure> {
        let increment = i64::from(frame::number(payload).ok_or_else(size)? & MAX_STREAM);
        if header.stream == 0 {
            if increment == 0 {
                return Err(protocol("a window grows by nothing"));
            }
            self.send_window += increment;
            if self.send_window > MAX_WINDOW {
                return Err(failure(ErrorCode::FlowControl, "a window is too large"));
            }
            return Ok(());
        }
        if header.stream > self.last_stream {
            return Err(protocol("a window of a stream that was not opened"));
        }
        let Some(stream) = self.stream(header.stream) else {
            return Ok(());
        };
        stream.send_window += increment;
        if increment == 0 {
            self.reset(header.stream, ErrorCode::Protocol);
        } else if stream.send_window > MAX_WINDOW {
            self.reset(header.stream, ErrorCode::FlowControl);
        }
        Ok(())
    }
}

/// The stream in the five bytes of a priority. Priorities themselves are ignored, as RFC 9113
/// allows.
pub(super) fn depends_on(priority: &[u8; 5]) -> u32 {
    let [stream @ .., _weight] = *priority;
    u32::from_be_bytes(stream) & MAX_STREAM
}

const MAX_FRAME_SIZES: std::ops::RangeInclusive<u32> = 16_384..=16_777_215;
