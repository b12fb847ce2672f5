//! One discovery stream on a connection: its messages, and the admission of its node.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use prost::{DecodeError, Message as _};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};
use tonic::Status;

use super::{ads::Ads, grpc, session::Session, wire::Form};
use crate::{
    http2::{Exchange, Part},
    node::{Admission, NodeDescription, NodeError},
    peer::Peer,
    resource::ResourceType,
};

/// A discovery stream.
pub(super) struct Discovery<F: Form> {
    ads: Arc<Ads>,
    /// The type of a service that serves one type.
    kind: Option<ResourceType>,
    state: State<F>,
    deframer: grpc::Deframer,
    /// Bytes to return to the client's flow-control window.
    released: usize,
    /// Bytes of the messages that wait for the admission.
    withheld: usize,
    begun: bool,
    /// The client has ended its half of the stream.
    finished: bool,
    failure: Option<Box<Status>>,
    _permit: OwnedSemaphorePermit,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all streams are open, and a further indirection slows each push"
)]
enum State<F: Form> {
    New { peer: Peer, due: Instant },
    Admitting(Box<Admitting<F>>),
    Open(Session<F>),
    Ended,
}

/// A stream that has named its node.
struct Admitting<F: Form> {
    answer: Answer,
    first: F::Request,
    /// The messages after the first request.
    backlog: Vec<Box<[u8]>>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Admitted, Status>> + Send>>;

struct Admitted {
    node: NodeDescription,
    peer: Peer,
    admission: Admission,
}

impl<F: Form> Discovery<F> {
    /// # Errors
    /// A status, if the stream is refused.
    pub(super) fn open(
        ads: &Arc<Ads>,
        kind: Option<ResourceType>,
        peer: Peer,
        now: Instant,
    ) -> Result<Self, Status> {
        if ads.stop.has_begun() {
            return Err(stopping());
        }
        let permit = Arc::clone(&ads.streams)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many discovery streams are open"))?;
        let due = now + ads.limits.first_request;
        Ok(Self {
            ads: Arc::clone(ads),
            kind,
            state: State::New { peer, due },
            deframer: grpc::Deframer::default(),
            released: 0,
            withheld: 0,
            begun: false,
            finished: false,
            failure: None,
            _permit: permit,
        })
    }

    fn message(&mut self, message: &[u8], now: Instant) -> Result<(), Status> {
        match &mut self.state {
            State::Open(session) => session.enter(decoded::<F>(message)?, self.kind, now),
            State::Admitting(admitting) => {
                self.withheld += message.len() + BACKLOG_ENTRY;
                admitting.backlog.push(message.into());
                Ok(())
            }
            State::New { .. } => self.first(message),
            State::Ended => Ok(()),
        }
    }

    fn first(&mut self, message: &[u8]) -> Result<(), Status> {
        let first = decoded::<F>(message)?;
        let node = NodeDescription::read(message, F::NODE).map_err(unserved)?;
        let State::New { peer, .. } = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        self.state = State::Admitting(Box::new(Admitting {
            answer: Box::pin(admit(Arc::clone(&self.ads), node, peer)),
            first,
            backlog: Vec::new(),
        }));
        Ok(())
    }

    fn poll_admission(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), Status>> {
        let State::Admitting(admitting) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        let admitted = ready!(admitting.answer.as_mut().poll(cx))?;
        let State::Admitting(admitting) = std::mem::replace(&mut self.state, State::Ended) else {
            return Poll::Ready(Ok(()));
        };
        let Admitted {
            node,
            peer,
            admission,
        } = admitted;
        let mut session = Session::new(&self.ads, self.kind, node, peer, admission);
        session.enter(admitting.first, self.kind, now)?;
        for message in admitting.backlog {
            session.enter(decoded::<F>(&message)?, self.kind, now)?;
        }
        self.withheld = 0;
        self.state = State::Open(session);
        Poll::Ready(Ok(()))
    }

    /// The next part, or the status that ends the stream.
    fn next(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Part, Status>> {
        if let Some(status) = self.failure.take() {
            return Poll::Ready(Err(*status));
        }
        if self.ads.stop.has_begun() {
            return Poll::Ready(Err(stopping()));
        }
        if self.is_incomplete(now) {
            return Poll::Ready(Err(Status::deadline_exceeded("no complete request came")));
        }
        if !self.begun {
            self.begun = true;
            return Poll::Ready(Ok(Part::Head(grpc::head())));
        }
        ready!(self.poll_admission(cx, now))?;
        if let State::Open(session) = &mut self.state {
            let polled = session.poll(cx, now);
            if session.is_dismissed() {
                let message = "the resources of this node have changed: reconnect";
                return Poll::Ready(Err(Status::unavailable(message)));
            }
            if let Poll::Ready(response) = polled {
                return Poll::Ready(Ok(Part::Body(response)));
            }
        }
        if self.finished {
            return Poll::Ready(Err(grpc::ok()));
        }
        Poll::Pending
    }

    fn is_incomplete(&self, now: Instant) -> bool {
        self.incomplete_until().is_some_and(|until| until <= now)
    }

    /// When the awaited or incomplete request must be complete.
    fn incomplete_until(&self) -> Option<Instant> {
        match self.state {
            State::New { due, .. } => Some(due),
            State::Admitting(_) | State::Open(_) | State::Ended => {
                let since = self.deframer.incomplete_since()?;
                Some(since + self.ads.limits.first_request)
            }
        }
    }
}

impl<F: Form> Exchange for Discovery<F> {
    fn receive(&mut self, data: &[u8], now: Instant) {
        self.released += data.len();
        if self.failure.is_some() {
            return;
        }
        let limit = self.ads.limits.request_bytes;
        let mut deframer = std::mem::take(&mut self.deframer);
        let received = deframer.push(data, limit, now, |message| self.message(message, now));
        self.deframer = deframer;
        self.failure = received.err().map(Box::new);
    }

    fn finish(&mut self) {
        self.finished = true;
    }

    fn released(&mut self) -> usize {
        let released = self.released.saturating_sub(self.withheld);
        self.released -= released;
        released
    }

    fn poll(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Part> {
        let part = ready!(self.next(cx, now)).unwrap_or_else(|status| {
            self.state = State::Ended;
            Part::End(grpc::end(&status, !self.begun))
        });
        Poll::Ready(part)
    }

    fn rest(&mut self, now: Instant) {
        if let State::Open(session) = &mut self.state {
            session.rest(now);
        }
    }

    fn lost(&mut self) {
        if let State::Open(session) = &mut self.state {
            session.lost();
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let dismissed = match &self.state {
            State::Open(session) => session.is_dismissed(),
            State::New { .. } | State::Admitting(_) | State::Ended => false,
        };
        dismissed || self.failure.is_some() || self.ads.stop.has_begun() || self.is_incomplete(now)
    }

    fn deadline(&self) -> Option<Instant> {
        let session = match &self.state {
            State::Open(session) => session.deadline(),
            State::New { .. } | State::Admitting(_) | State::Ended => None,
        };
        session.into_iter().chain(self.incomplete_until()).min()
    }
}

async fn admit(ads: Arc<Ads>, node: NodeDescription, peer: Peer) -> Result<Admitted, Status> {
    let admission = timeout(ads.limits.admission, ads.directory.admit(&node, &peer))
        .await
        .map_err(|_| Status::unavailable("the node could not be admitted in time"))??;
    Ok(Admitted {
        node,
        peer,
        admission,
    })
}

fn decoded<F: Form>(message: &[u8]) -> Result<F::Request, Status> {
    F::Request::decode(message).map_err(unreadable)
}

fn unserved(error: NodeError) -> Status {
    match error {
        NodeError::Unreadable(error) => unreadable(error),
        NodeError::NoId | NodeError::LongId { .. } => Status::invalid_argument(error.to_string()),
    }
}

fn unreadable(error: DecodeError) -> Status {
    Status::internal(format!("a request does not decode: {error}"))
}

fn stopping() -> Status {
    Status::unavailable("the server is stopping")
}

/// The memory of a message in the backlog besides its own bytes. It is more than its prefix.
const BACKLOG_ENTRY: usize = size_of::<Box<[u8]>>() + ALLOCATION;
/// The approximate overhead of an allocation, in bytes.
const ALLOCATION: usize = 16;

#[cfg(test)]
mod tests;
