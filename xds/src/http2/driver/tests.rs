use std::{
    pin::pin,
    sync::atomic::AtomicUsize,
    task::{Wake, Waker},
};

use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::http2::{
    Exchange, Part, Request,
    frame::{END_HEADERS, Kind, PREFACE, put_header, put_settings},
    hpack,
};

/// Counts the bytes of all bodies.
#[derive(Clone, Debug, Default)]
struct Counter(Arc<AtomicUsize>);

impl Counter {
    fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Service for Counter {
    fn open(&self, _request: Request, _now: Instant) -> Box<dyn Exchange> {
        Box::new(self.clone())
    }
}

impl Exchange for Counter {
    fn receive(&mut self, data: &[u8], _now: Instant) {
        self.0.fetch_add(data.len(), Ordering::Relaxed);
    }

    fn finish(&mut self) {}

    fn released(&mut self) -> usize {
        0
    }

    fn poll(&mut self, _cx: &mut Context<'_>, _now: Instant) -> Poll<Part> {
        Poll::Pending
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn request(body: usize) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    put_settings(&mut bytes, &[]);
    let mut block = Vec::new();
    for (name, value) in [(":method", "POST"), (":scheme", "http"), (":path", "/")] {
        hpack::field(&mut block, name, value.as_bytes());
    }
    put_header(&mut bytes, block.len(), Kind::Headers, END_HEADERS, 1);
    bytes.extend(block);
    for _ in 0..body / SMALL {
        put_header(&mut bytes, SMALL, Kind::Data, 0, 1);
        bytes.extend([7; SMALL]);
    }
    bytes
}

fn driver(
    server: DuplexStream,
    counter: &Counter,
    first_request: Duration,
) -> Driver<DuplexStream, Counter> {
    let timeouts = Timeouts {
        first_request,
        keepalive_interval: MINUTE,
        keepalive_timeout: MINUTE,
        write: MINUTE,
        drain: MINUTE,
    };
    let bounds = Bounds {
        streams: 1,
        header_bytes: 1000,
    };
    let service = Arc::new(counter.clone());
    let stop = Arc::new(Stop::default());
    Driver::new(server, service, bounds, timeouts, None, stop)
}

#[tokio::test]
async fn a_client_that_sends_without_pause_has_its_turn_and_no_more() {
    let body = 60_000;
    let request = request(body);
    let (mut client, server) = duplex(request.len());
    client.write_all(&request).await.unwrap();
    let counter = Counter::default();
    let mut driver = pin!(driver(server, &counter, MINUTE));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut turns = 0;
    while counter.bytes() < body {
        let before = counter.bytes();
        let polled = driver.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        assert!(counter.bytes() - before <= TURN);
        let again = woken.0.swap(false, Ordering::Relaxed);
        assert!(
            again || counter.bytes() == body,
            "it is never read to the end"
        );
        turns += 1;
    }
    assert!(turns <= request.len().div_ceil(TURN));
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_and_reads_nothing_is_left_alone_until_the_end() {
    // Less than the server's settings: they stay where they are.
    let (_client, server) = duplex(1);
    let mut driver = driver(server, &Counter::default(), Duration::ZERO);
    let polled = Pin::new(&mut driver).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    let now = Instant::now();
    assert!(driver.expire(now).is_continue());
    assert!(driver.due() > now, "something is always due");
}

const MINUTE: Duration = Duration::from_secs(60);
/// The length of a frame of data, in bytes.
const SMALL: usize = 100;
