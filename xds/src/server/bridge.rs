//! Serves requests by tonic's services on the same port.

mod body;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use http_body::Body as _;
use tokio::time::Instant;
use tonic::{Status, body::Body, service::Routes, transport::server::TcpConnectInfo};
use tower_service::Service as _;

use self::body::{Inbound, RequestBody};
use super::grpc;
use crate::{
    http2::{Chunks, Exchange, Fields, Part, Request},
    peer::Peer,
};

/// One request that is answered by tonic.
pub(super) struct Bridge {
    inbound: Arc<Inbound>,
    state: State,
}

enum State {
    Calling(Call),
    Responding(Body),
    Refused(u16),
    Ended,
}

type Call = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Status>> + Send>>;

impl Bridge {
    pub(super) fn open(routes: &Routes, request: Request, peer: &Peer) -> Self {
        let inbound = Arc::new(Inbound::default());
        let body = Body::new(RequestBody::new(Arc::clone(&inbound)));
        let state = match converted(request, peer, body) {
            Some(request) => State::Calling(Box::pin(call(routes.clone(), request))),
            None => State::Refused(BAD_REQUEST),
        };
        Self { inbound, state }
    }

    fn end(&mut self, block: Vec<u8>) -> Poll<Part> {
        self.state = State::Ended;
        Poll::Ready(Part::End(block))
    }
}

impl Exchange for Bridge {
    fn receive(&mut self, data: &[u8], _now: Instant) {
        self.inbound.push(data);
    }

    fn finish(&mut self) {
        self.inbound.finish();
    }

    fn released(&mut self) -> usize {
        self.inbound.released()
    }

    fn poll(&mut self, cx: &mut Context<'_>, _now: Instant) -> Poll<Part> {
        self.inbound.register(cx.waker());
        match &mut self.state {
            State::Calling(call) => {
                let response = match ready!(call.as_mut().poll(cx)) {
                    Ok(response) => response,
                    Err(status) => return self.end(grpc::end(&status, true)),
                };
                let (head, body) = response.into_parts();
                let fields = Fields::response(head.status.as_u16());
                let block = encoded(fields, &head.headers);
                if body.is_end_stream() {
                    return self.end(block);
                }
                self.state = State::Responding(body);
                Poll::Ready(Part::Head(block))
            }
            State::Responding(body) => loop {
                let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else {
                    return self.end(Vec::new());
                };
                let frame = match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) if data.is_empty() => continue,
                    Ok(Ok(data)) => return Poll::Ready(Part::Body(Chunks::from(data))),
                    Ok(Err(frame)) => frame,
                    Err(status) => return self.end(grpc::end(&status, false)),
                };
                if let Ok(trailers) = frame.into_trailers() {
                    return self.end(encoded(Fields::trailers(), &trailers));
                }
            },
            State::Refused(status) => {
                let block = Fields::response(*status).encoded();
                self.end(block)
            }
            State::Ended => Poll::Pending,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // A service that still reads the request must not wait for more.
        self.inbound.abandon();
    }
}

async fn call(
    mut routes: Routes,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    routes
        .call(request)
        .await
        .map_err(|error| Status::from_error(error.into()))
}

/// Converts a request to the `http` crate's type; `None` if it is not valid there.
fn converted(request: Request, peer: &Peer, body: Body) -> Option<http::Request<Body>> {
    let mut converted = http::Request::new(body);
    *converted.version_mut() = Version::HTTP_2;
    *converted.method_mut() = request.method.parse().ok()?;
    let uri = Uri::builder().path_and_query(request.path);
    *converted.uri_mut() = if request.authority.is_empty() {
        uri.build()
    } else {
        uri.scheme(&*request.scheme)
            .authority(request.authority)
            .build()
    }
    .ok()?;
    for (name, value) in request.fields {
        let name = HeaderName::from_bytes(&name).ok()?;
        let value = HeaderValue::from_maybe_shared(value).ok()?;
        converted.headers_mut().append(name, value);
    }
    converted.extensions_mut().insert(TcpConnectInfo {
        local_addr: None,
        remote_addr: Some(peer.address),
    });
    converted.extensions_mut().insert(peer.clone());
    Some(converted)
}

fn encoded(fields: Fields, headers: &HeaderMap) -> Vec<u8> {
    headers
        .iter()
        .fold(fields, |fields, (name, value)| {
            fields.with(name.as_str(), value.as_bytes())
        })
        .encoded()
}

const BAD_REQUEST: u16 = 400;
