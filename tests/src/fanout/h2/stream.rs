//! One request and its response.

use std::task::{Context, Poll, ready};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderName, HeaderValue};
use pointsman_xds::foreign::{Chunks, Exchange, Part, Request, Service, fields};
use tokio::time::Instant;

pub(super) struct Stream {
    exchange: Box<dyn Exchange>,
    body: RecvStream,
    finished: bool,
    response: Response,
    /// What waits for the client's windows: the next piece, and those behind it.
    piece: Bytes,
    outbound: Chunks,
    /// Comes behind the pieces.
    ending: Option<Vec<u8>>,
}

enum Response {
    Due(SendResponse<Bytes>),
    Begun(SendStream<Bytes>),
    Ended,
}

impl Stream {
    pub(super) fn open(
        service: &dyn Service,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
        now: Instant,
    ) -> Self {
        let (head, body) = request.into_parts();
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let fields = head.headers.iter();
        let request = Request {
            method: head.method.to_string(),
            scheme: text(head.uri.scheme_str()),
            authority: text(head.uri.authority().map(http::uri::Authority::as_str)),
            path: head.uri.path().to_owned(),
            fields: fields
                .map(|(name, value)| {
                    let name = Bytes::copy_from_slice(name.as_str().as_bytes());
                    (name, Bytes::copy_from_slice(value.as_bytes()))
                })
                .collect(),
        };
        Self {
            exchange: service.open(request, now),
            body,
            finished: false,
            response: Response::Due(respond),
            piece: Bytes::new(),
            outbound: Chunks::default(),
            ending: None,
        }
    }

    /// Takes what has come, and sends what there is as far as the client's windows allow.
    /// Returns whether the stream goes on.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let driven = self.receive(cx, now).and_then(|()| self.send(cx, now));
        let released = self.exchange.released();
        if released > 0 {
            // It fails only if the stream is over.
            self.body.flow_control().release_capacity(released).ok();
        }
        driven.is_ok() && !matches!(self.response, Response::Ended)
    }

    /// When to drive although nothing has happened.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.exchange.deadline()
    }

    fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> anyhow::Result<()> {
        while !self.finished {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(data)) => self.exchange.receive(&data?, now),
                Poll::Ready(None) => {
                    self.finished = true;
                    self.exchange.finish();
                }
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn send(&mut self, cx: &mut Context<'_>, now: Instant) -> anyhow::Result<()> {
        loop {
            match self.flush(cx) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => {
                    self.exchange.rest(now);
                    if self.exchange.is_over(now) {
                        self.cancel();
                    }
                    return Ok(());
                }
            }
            if matches!(self.response, Response::Ended) {
                return Ok(());
            }
            match self.exchange.poll(cx, now) {
                Poll::Ready(Part::Head(block)) => self.begin(&block, false)?,
                Poll::Ready(Part::Body(chunks)) => self.outbound = chunks,
                Poll::Ready(Part::End(block)) => self.ending = Some(block),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Sends what waits.
    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<anyhow::Result<()>> {
        loop {
            if self.piece.is_empty() {
                let Some(next) = self.outbound.take(usize::MAX) else {
                    break;
                };
                self.piece = next;
            }
            let Response::Begun(stream) = &mut self.response else {
                return Poll::Ready(Err(anyhow::anyhow!("a body without a head")));
            };
            stream.reserve_capacity(self.piece.len());
            let mut capacity = stream.capacity();
            if capacity == 0 {
                let more = ready!(stream.poll_capacity(cx));
                capacity = more.context("the client takes no more")??;
            }
            let length = self.piece.len().min(capacity);
            stream.send_data(self.piece.split_to(length), false)?;
        }
        if let Some(block) = self.ending.take() {
            self.finish(&block)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the fields that begin a response, which are all of it if they end it.
    fn begin(&mut self, block: &[u8], end: bool) -> anyhow::Result<()> {
        let Response::Due(respond) = &mut self.response else {
            anyhow::bail!("a second head");
        };
        let mut response = http::Response::new(());
        for (name, value) in fields(block) {
            if name == b":status" {
                *response.status_mut() = http::StatusCode::from_bytes(&value)?;
            } else {
                let name = HeaderName::from_bytes(&name)?;
                let value = HeaderValue::from_bytes(&value)?;
                response.headers_mut().append(name, value);
            }
        }
        self.response = Response::Begun(respond.send_response(response, end)?);
        Ok(())
    }

    fn finish(&mut self, block: &[u8]) -> anyhow::Result<()> {
        match &mut self.response {
            Response::Due(_) => self.begin(block, true)?,
            Response::Begun(stream) if block.is_empty() => stream.send_data(Bytes::new(), true)?,
            Response::Begun(stream) => {
                let mut trailers = http::HeaderMap::new();
                for (name, value) in fields(block) {
                    let name = HeaderName::from_bytes(&name)?;
                    trailers.append(name, HeaderValue::from_bytes(&value)?);
                }
                stream.send_trailers(trailers)?;
            }
            Response::Ended => ensure!(false, "a second end"),
        }
        self.response = Response::Ended;
        Ok(())
    }

    fn cancel(&mut self) {
        match &mut self.response {
            Response::Due(respond) => respond.send_reset(Reason::CANCEL),
            Response::Begun(stream) => stream.send_reset(Reason::CANCEL),
            Response::Ended => {}
        }
        self.response = Response::Ended;
    }
}
