use tokio::sync::{mpsc, oneshot};

use super::leader::Leader;
use crate::engine::{
    error::{DriveError, EngineError},
    request::{Admitted, OperatorRequest},
};

/// A request, and where to say whether the machine took it.
#[derive(Debug)]
pub(in crate::engine) struct Request {
    pub(in crate::engine) request: OperatorRequest,
    pub(in crate::engine) reply: oneshot::Sender<Result<(), EngineError>>,
}

/// The requests of operators that wait to be heard.
#[derive(Debug)]
pub(super) struct Inbox {
    requests: mpsc::Receiver<Request>,
    sender: mpsc::Sender<Request>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        let (sender, requests) = mpsc::channel(PENDING_REQUESTS);
        Self { requests, sender }
    }

    pub(super) fn sender(&self) -> mpsc::Sender<Request> {
        self.sender.clone()
    }

    /// The next request; waits for one. This object keeps a sender, so there always is a next.
    pub(super) async fn next(&mut self) -> Option<Request> {
        self.requests.recv().await
    }

    /// Hears the requests that are waiting, between two steps.
    pub(super) async fn hear_waiting(&mut self, leader: &mut Leader) -> Result<(), DriveError> {
        while let Ok(request) = self.requests.try_recv() {
            hear(leader, request).await?;
        }
        Ok(())
    }
}

/// Turns a request into an event, or says why not. The answer goes out once the change is
/// durable.
pub(super) async fn hear(leader: &mut Leader, request: Request) -> Result<(), DriveError> {
    let Request { request, reply } = request;
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
        Ok(Admitted::Event(event, reason)) => {
            match leader.happened(event, reason.to_owned()).await {
                Ok(_next) => Ok(()),
                Err(DriveError::NotPossible(refused)) => {
                    let name = &leader.migration().name;
                    Err(EngineError::not_possible(name, refused))
                }
                Err(failed @ DriveError::Journal(_)) => return Err(failed),
            }
        }
    };
    // The caller may have gone; the change stands.
    let _ = reply.send(answer);
    Ok(())
}

/// More than these requests at once are refused as busy.
const PENDING_REQUESTS: usize = 8;
