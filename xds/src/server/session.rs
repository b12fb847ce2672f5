//! One discovery stream: inputs from the socket and the cache into the machine, its responses
//! back, its standing into the fleet.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{Stream, stream};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout},
};
use tonic::{Status, Streaming};
use tracing::debug;

use super::{ads::Ads, wire::Form};
use crate::{
    cache::Watch,
    fleet::Connection,
    node::NodeDescription,
    peer::Peer,
    resource::ResourceType,
    stream::{Machine, Terms},
};

/// A stream whose client has been admitted.
pub(super) struct Session<F: Form> {
    inbound: Streaming<F::Request>,
    machine: Machine,
    watch: Watch,
    connection: Connection,
    outbox: VecDeque<F::Response>,
    ads: Arc<Ads>,
    _permit: OwnedSemaphorePermit,
}

/// What happens next on an open stream.
enum Event<R> {
    Stopping,
    Published,
    Request(R),
    /// The client has gone, or has nothing more to say.
    Closed,
    /// Something has waited long enough.
    Due,
}

/// The response stream. It is the task: whoever polls it drives the session, and a client that
/// does not read is not worked for.
pub(super) fn responses<F: Form>(
    ads: Arc<Ads>,
    inbound: Streaming<F::Request>,
    peer: Peer,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<F::Response, Status>> + Send {
    let newcomer = Newcomer::<F> {
        ads,
        inbound,
        peer,
        permit,
    };
    let state = State::New(Box::new(newcomer));
    stream::unfold(state, |mut state| async {
        loop {
            match state {
                State::New(newcomer) => match newcomer.open().await {
                    Ok(Some(session)) => state = State::Open(Box::new(session)),
                    Ok(None) => return None,
                    Err(status) => return Some((Err(status), State::Ended)),
                },
                State::Open(mut session) => match session.next().await {
                    Ok(Some(response)) => return Some((Ok(response), State::Open(session))),
                    Ok(None) => return None,
                    Err(status) => return Some((Err(status), State::Ended)),
                },
                State::Ended => return None,
            }
        }
    })
}

enum State<F: Form> {
    New(Box<Newcomer<F>>),
    Open(Box<Session<F>>),
    Ended,
}

/// A stream that has not said whose it is.
struct Newcomer<F: Form> {
    ads: Arc<Ads>,
    inbound: Streaming<F::Request>,
    peer: Peer,
    permit: OwnedSemaphorePermit,
}

impl<F: Form> Newcomer<F> {
    /// Reads the first request and asks whether its node may be served.
    async fn open(self) -> Result<Option<Session<F>>, Status> {
        let Self {
            ads,
            mut inbound,
            peer,
            permit,
        } = self;
        let first = tokio::select! {
            biased;
            () = ads.stop.cancelled() => return Err(stopping()),
            first = timeout(ads.limits.first_request, inbound.message()) => first,
        };
        let mut request = match first {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None) | Err(_)) => return Ok(None),
            Err(_) => return Err(Status::deadline_exceeded("no first request came")),
        };
        let node = NodeDescription::read(F::node(&mut request).unwrap_or_default())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let group = timeout(ads.limits.admission, ads.directory.admit(&node, &peer))
            .await
            .map_err(|_| Status::unavailable("the node could not be admitted in time"))?
            .map_err(|refusal| Status::permission_denied(refusal.to_string()))?;
        debug!(node = %node.id, %group, transport = ?F::TRANSPORT, "discovery stream opened");
        let terms = Terms::new(&node, F::TRANSPORT, ads.limits.names, ads.limits.answer);
        let mut session = Session {
            machine: Machine::new(F::TRANSPORT, Arc::clone(&ads.instance), terms),
            watch: ads.cache.subscribe(&group, &node.id),
            connection: ads.fleet.connect(node, group, peer),
            inbound,
            outbox: VecDeque::new(),
            ads,
            _permit: permit,
        };
        session.load();
        session.enter(request)?;
        session.advance();
        Ok(Some(session))
    }
}

impl<F: Form> Session<F> {
    async fn next(&mut self) -> Result<Option<F::Response>, Status> {
        loop {
            if let Some(response) = self.outbox.pop_front() {
                return Ok(Some(response));
            }
            match self.event().await {
                Event::Stopping => return Err(stopping()),
                Event::Closed => return Ok(None),
                Event::Published => self.load(),
                Event::Request(request) => self.enter(request)?,
                Event::Due => {}
            }
            self.advance();
        }
    }

    /// Publishes come before requests: they are few, and a client that talks without pause
    /// must not keep the newest content from being sent.
    async fn event(&mut self) -> Event<F::Request> {
        let due = self.machine.deadline(Instant::now());
        tokio::select! {
            biased;
            () = self.ads.stop.cancelled() => Event::Stopping,
            () = self.watch.changed() => Event::Published,
            message = self.inbound.message() => match message {
                Ok(Some(request)) => Event::Request(request),
                Ok(None) => Event::Closed,
                Err(status) => {
                    debug!(node = %self.connection.node(), %status, "discovery stream broke");
                    Event::Closed
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Event::Due,
        }
    }

    fn load(&mut self) {
        if let Some(published) = self.watch.newest() {
            self.machine.publish(published);
        }
    }

    fn enter(&mut self, request: F::Request) -> Result<(), Status> {
        let type_url = F::type_url(&request);
        if type_url.is_empty() {
            return Err(Status::invalid_argument(
                "a request of an aggregated stream must carry a type_url",
            ));
        }
        let Some(kind) = ResourceType::from_type_url(type_url) else {
            if self.machine.unserved(type_url) {
                debug!(node = %self.connection.node(), type_url, "a type that is not served");
            }
            return Ok(());
        };
        F::enter(&mut self.machine, kind, request, Instant::now())
            .map_err(|violation| Status::resource_exhausted(violation.to_string()))
    }

    fn advance(&mut self) {
        for response in self.machine.advance(Instant::now()) {
            self.outbox
                .push_back(F::encode(response, &self.ads.instance));
        }
        self.connection.report(&mut self.machine);
    }
}

fn stopping() -> Status {
    Status::unavailable("the server is stopping")
}
