//! The services of a connection: discovery and telemetry here, everything else by tonic.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tonic::{Status, service::Routes};

use super::{
    ads::Ads,
    bridge::Bridge,
    discovery::Discovery,
    grpc,
    methods::{Method, method},
    telemetry::{Reports, Telemetry},
    wire::{Delta, StateOfTheWorld},
};
use crate::{
    http2::{Exchange, Fields, Part, Request, Service},
    peer::Peer,
    stream::Transport,
};

/// The services for the client of one connection.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) ads: Arc<Ads>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) routes: Routes,
    pub(super) peer: Peer,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Service for Services {
    fn open(&self, request: Request, now: Instant) -> Box<dyn Exchange> {
        let Some(method) = method(&request.path) else {
            return Box::new(Bridge::open(&self.routes, request, &self.peer));
        };
        if let Some(status) = grpc::http_error(&request) {
            return Box::new(Answer::new(Fields::response(status).encoded()));
        }
        let peer = self.peer.clone();
        match method {
            Method::Stream { transport, kind } => {
                let opened: Result<Box<dyn Exchange>, Status> = match transport {
                    Transport::Delta => Discovery::<Delta>::open(&self.ads, kind, peer, now)
                        .map(|stream| Box::new(stream) as _),
                    Transport::StateOfTheWorld => {
                        Discovery::<StateOfTheWorld>::open(&self.ads, kind, peer, now)
                            .map(|stream| Box::new(stream) as _)
                    }
                };
                opened.unwrap_or_else(|status| Box::new(Answer::failed(&status)))
            }
            Method::Reports(subject) => {
                let opened = Reports::open(&self.telemetry, subject, peer, now);
                match opened {
                    Ok(stream) => Box::new(stream),
                    Err(status) => Box::new(Answer::failed(&status)),
                }
            }
            Method::NotOffered => {
                let message = "resources are served on streams only: delta, or state of the world";
                Box::new(Answer::failed(&Status::unimplemented(message)))
            }
        }
    }
}

/// A response that does not depend on the request's body.
struct Answer {
    block: Vec<u8>,
    released: usize,
}

impl Answer {
    const fn new(block: Vec<u8>) -> Self {
        Self { block, released: 0 }
    }

    fn failed(status: &Status) -> Self {
        Self::new(grpc::end(status, true))
    }
}

impl Exchange for Answer {
    fn receive(&mut self, data: &[u8], _now: Instant) {
        self.released += data.len();
    }

    fn finish(&mut self) {}

    fn released(&mut self) -> usize {
        std::mem::take(&mut self.released)
    }

    fn poll(&mut self, _cx: &mut Context<'_>, _now: Instant) -> Poll<Part> {
        Poll::Ready(Part::End(std::mem::take(&mut self.block)))
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
