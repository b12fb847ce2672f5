//! Receives Envoy's access-log and metrics streams. They are answered when the client ends the stream,
//! which Envoy never does.

use std::{
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use prost::DecodeError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::Status;

use super::{Limits, grpc};
use crate::{
    http2::{Chunks, Exchange, Part, Stop},
    node::{NodeDirectory, NodeId},
    peer::Peer,
    telemetry::{TelemetrySink, access_logs, metric_families, node_id},
};

/// What all telemetry streams of a server share.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) sink: Arc<dyn TelemetrySink>,
    pub(super) directory: Arc<dyn NodeDirectory>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) limits: Arc<Limits>,
    pub(super) stop: Arc<Stop>,
}

/// The kind of a telemetry stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    AccessLogs,
    Metrics,
}

/// A telemetry stream.
pub(super) struct Reports {
    telemetry: Arc<Telemetry>,
    subject: Subject,
    peer: Peer,
    /// When the first report must be complete.
    due: Instant,
    /// Known from the first report on.
    reporter: Option<Reporter>,
    deframer: grpc::Deframer,
    /// Bytes to return to the client's flow-control window.
    released: usize,
    failure: Option<Box<Status>>,
    /// The rest of the stream is in `response`.
    ended: bool,
    response: vec::IntoIter<Part>,
    _permit: OwnedSemaphorePermit,
}

impl Reports {
    /// # Errors
    /// A status, if the stream is refused.
    pub(super) fn open(
        telemetry: &Arc<Telemetry>,
        subject: Subject,
        peer: Peer,
        now: Instant,
    ) -> Result<Self, Status> {
        let permit = Arc::clone(&telemetry.streams)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many telemetry streams are open"))?;
        Ok(Self {
            telemetry: Arc::clone(telemetry),
            subject,
            peer,
            due: now + telemetry.limits.first_request,
            reporter: None,
            deframer: grpc::Deframer::default(),
            released: 0,
            failure: None,
            ended: false,
            response: Vec::new().into_iter(),
            _permit: permit,
        })
    }

    fn message(&mut self, message: &[u8]) -> Result<(), Status> {
        let reporter = match &mut self.reporter {
            Some(reporter) => reporter,
            reporter @ None => reporter.insert(self.telemetry.reporter(message, &self.peer)?),
        };
        reporter.report(self.subject, message).map_err(unreadable)
    }

    /// When the awaited or incomplete report must be complete.
    fn incomplete_until(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        if self.reporter.is_none() {
            return Some(self.due);
        }
        let since = self.deframer.incomplete_since()?;
        Some(since + self.telemetry.limits.first_request)
    }

    fn is_incomplete(&self, now: Instant) -> bool {
        self.incomplete_until().is_some_and(|until| until <= now)
    }

    /// The status with which the stream must end now.
    fn end(&mut self, now: Instant) -> Option<Status> {
        if let Some(status) = self.failure.take() {
            return Some(*status);
        }
        if self.telemetry.stop.has_begun() {
            return Some(Status::unavailable("the server is stopping"));
        }
        self.is_incomplete(now)
            .then(|| Status::deadline_exceeded("no complete report came"))
    }

    fn respond(&mut self, response: Vec<Part>) {
        self.ended = true;
        self.reporter = None;
        self.response = response.into_iter();
    }
}

impl Exchange for Reports {
    fn receive(&mut self, data: &[u8], now: Instant) {
        self.released += data.len();
        if self.ended || self.failure.is_some() {
            return;
        }
        let limit = self.telemetry.limits.request_bytes;
        let mut deframer = std::mem::take(&mut self.deframer);
        let received = deframer.push(data, limit, now, |message| self.message(message));
        self.deframer = deframer;
        self.failure = received.err().map(Box::new);
    }

    fn finish(&mut self) {
        if self.failure.is_none() {
            self.respond(vec![
                Part::Head(grpc::head()),
                Part::Body(Chunks::from(NOTHING)),
                Part::End(grpc::end(&grpc::ok(), false)),
            ]);
        }
    }

    fn released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    fn poll(&mut self, _cx: &mut Context<'_>, now: Instant) -> Poll<Part> {
        if !self.ended
            && let Some(status) = self.end(now)
        {
            self.respond(vec![Part::End(grpc::end(&status, true))]);
        }
        self.response.next().map_or(Poll::Pending, Poll::Ready)
    }

    fn is_over(&self, now: Instant) -> bool {
        self.failure.is_some() || self.telemetry.stop.has_begun() || self.is_incomplete(now)
    }

    fn deadline(&self) -> Option<Instant> {
        self.incomplete_until()
    }
}

impl Telemetry {
    /// The reporter of a stream, from its first report.
    fn reporter(&self, message: &[u8], peer: &Peer) -> Result<Reporter, Status> {
        let id = node_id(message).map_err(unreadable)?;
        let node =
            NodeId::from_client(id).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let node = self.directory.reporter(&node, peer)?;
        Ok(Reporter {
            node,
            sink: Arc::clone(&self.sink),
        })
    }
}

/// The node that reports on a stream. Dropping it tells the sink that the stream has ended.
struct Reporter {
    node: NodeId,
    sink: Arc<dyn TelemetrySink>,
}

impl Reporter {
    fn report(&self, subject: Subject, message: &[u8]) -> Result<(), DecodeError> {
        match subject {
            Subject::AccessLogs => {
                access_logs(message, |entry| self.sink.access_log(&self.node, entry))
            }
            Subject::Metrics => {
                self.sink.metrics(&self.node, metric_families(message)?);
                Ok(())
            }
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.sink.closed(&self.node);
    }
}

fn unreadable(error: DecodeError) -> Status {
    Status::internal(format!("a report does not decode: {error}"))
}

/// A framed empty message.
const NOTHING: Bytes = Bytes::from_static(&[0; grpc::PREFIX]);
