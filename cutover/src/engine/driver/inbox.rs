use tokio::sync::{mpsc, oneshot};

use super::leader::Leader;
use crate::engine::{
    error::{DriveError, EngineError},
    request::{Admitted, OperatorRequest},
};

/// A request, and where to say what became of it.
#[derive(Debug)]
pub(in crate::engine) struct Request {
    request: OperatorRequest,
    heard: oneshot::Sender<()>,
    reply: oneshot::Sender<Result<(), EngineError>>,
}

/// The other end of a request.
#[derive(Debug)]
pub(in crate::engine) struct Asked {
    /// Comes when a driver has the request in hand. Dropped before that, the request is withdrawn.
    pub(in crate::engine) heard: oneshot::Receiver<()>,
    /// Whether the machine took it.
    pub(in crate::engine) answer: oneshot::Receiver<Result<(), EngineError>>,
}

impl Request {
    pub(in crate::engine) fn new(request: OperatorRequest) -> (Self, Asked) {
        let (heard, hears) = oneshot::channel();
        let (reply, answer) = oneshot::channel();
        let request = Self {
            request,
            heard,
            reply,
        };
        let asked = Asked {
            heard: hears,
            answer,
        };
        (request, asked)
    }
}

/// The requests of operators that wait to be heard.
#[derive(Debug)]
pub(in crate::engine) struct Inbox {
    requests: mpsc::Receiver<Request>,
    sender: mpsc::Sender<Request>,
    /// The one that [`Self::arrived`] saw.
    first: Option<Request>,
}

impl Inbox {
    pub(in crate::engine) fn new() -> Self {
        let (sender, requests) = mpsc::channel(PENDING_REQUESTS);
        Self {
            requests,
            sender,
            first: None,
        }
    }

    pub(in crate::engine) fn sender(&self) -> mpsc::Sender<Request> {
        self.sender.clone()
    }

    /// The next request; waits for one. This object keeps a sender, so there always is a next.
    pub(super) async fn next(&mut self) -> Option<Request> {
        self.arrived().await;
        self.first.take()
    }

    /// Waits until there is a request, and leaves it there.
    pub(super) async fn arrived(&mut self) {
        if self.first.is_none() {
            self.first = self.requests.recv().await;
        }
    }

    /// Hears the requests that are waiting, between two steps.
    pub(super) async fn hear_waiting(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        while let Some(request) = self.first.take().or_else(|| self.requests.try_recv().ok()) {
            hear(leader, request).await?;
        }
        Ok(())
    }
}

/// Turns a request into an event, or says why not. The answer goes out once the change is
/// durable. Nothing comes of a request that was withdrawn.
pub(super) async fn hear(leader: &mut Leader, request: Request) -> Result<(), DriveError> {
    let Request {
        request,
        heard,
        reply,
    } = request;
    if heard.send(()).is_err() {
        return Ok(());
    }
    let commands = leader.commands();
    let now = commands.clock().now();
    let admitted = request.admit(leader.migration(), commands.settings(), now);
    let answer = match admitted {
        Err(refusal) => Err(refusal),
        Ok(Admitted::Preflight(at)) => {
            leader.passed_preflight(at);
            leader
                .note("preflight", "no check blocks".to_owned())
                .await?;
            Ok(())
        }
        Ok(Admitted::Event(event, reason)) => match leader.happened(event, reason).await {
            Ok(_next) => Ok(()),
            Err(DriveError::NotPossible(refused)) => {
                let name = &leader.migration().name;
                Err(EngineError::not_possible(name, refused))
            }
            Err(failed @ DriveError::Journal(_)) => return Err(failed),
        },
    };
    // The caller may have gone; the change stands.
    let _ = reply.send(answer);
    Ok(())
}

/// More than these requests at once are refused as busy.
const PENDING_REQUESTS: usize = 8;
