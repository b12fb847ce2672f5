//! The floor: a server that writes the same framed bytes to all streams and reads their ACKs,
//! and nothing more. It knows no subscription, no difference, no node and no timer; half of
//! the connections belong to each of two threads.
//!
//! It is led by the lines that all servers of the benchmark know:
//!
//! ```text
//! await COUNT          once so many more ACKs are in    acked AT
//! publish HEX COUNT    publishes this assignment        published BEGAN CALLED RETURNED, acked AT
//! stats                                                 stats CPU-NANOSECONDS
//! ```

mod shard;

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::ControlPlane;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::google::protobuf::Any;
use mio::Waker;
use mio::net::TcpListener;
use prost::Message;

use self::shard::Shard;
use super::content::{NAME, TYPE_URL};
use super::control::{answer, cpu, from_hex, listen, now, open_many_files};
use super::wire;

/// Serves until the standard input ends.
///
/// # Errors
/// The server could not be started, or a command was not one.
pub fn run() -> anyhow::Result<()> {
    open_many_files()?;
    let listener = TcpListener::bind("127.0.0.1:0".parse()?)?;
    let address = listener.local_addr()?;
    let (reached, acked) = mpsc::channel();
    let shared = Arc::new(Shared {
        response: Mutex::default(),
        tally: Mutex::new(Tally {
            arrived: 0,
            target: 0,
            reached,
        }),
    });
    let mut shards = Vec::new();
    for _ in 0..SHARDS {
        shards.push(Shard::new(Arc::clone(&shared))?);
    }
    let handles = shards.iter().map(Shard::handle).collect::<Vec<_>>();
    if let Some(first) = shards.first_mut() {
        first.accept(listener, handles.clone())?;
    }
    for shard in shards {
        thread::spawn(move || {
            if let Err(error) = shard.run() {
                // Nobody hears it if the answer fails: then the run is over in any case.
                answer(&format!("broken {error:#}")).ok();
            }
        });
    }
    answer(&format!("listening {address}"))?;
    let (sender, commands) = mpsc::channel();
    listen(move |line| sender.send(line).is_ok());
    let wakers: Vec<_> = handles.into_iter().map(|handle| handle.waker).collect();
    for line in commands {
        obey(&shared, &wakers, &acked, &line).with_context(|| line.clone())?;
    }
    Ok(())
}

#[derive(Debug)]
struct Shared {
    /// A DATA frame for everybody, and how many came before.
    response: Mutex<(u64, Bytes)>,
    tally: Mutex<Tally>,
}

/// ACKs that have come and ACKs that are waited for, since the start.
#[derive(Debug)]
struct Tally {
    arrived: u64,
    target: u64,
    reached: Sender<u64>,
}

impl Shared {
    fn response(&self) -> (u64, Bytes) {
        let response = self.response.lock();
        response.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, acks: u64) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = tally.arrived < tally.target;
        tally.arrived += acks;
        if missing && tally.arrived >= tally.target {
            tally.reached.send(now()).ok();
        }
    }

    fn expect(&self, more: u64) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.target += more;
        if tally.arrived >= tally.target {
            tally.reached.send(now()).ok();
        }
    }
}

fn obey(
    shared: &Shared,
    wakers: &[Arc<Waker>],
    acked: &Receiver<u64>,
    line: &str,
) -> anyhow::Result<()> {
    let command: Vec<_> = line.split(' ').collect();
    match *command {
        ["stats"] => return answer(&format!("stats {}", cpu())),
        ["await", count] => shared.expect(count.parse()?),
        ["publish", content, count] => {
            shared.expect(count.parse()?);
            publish(shared, wakers, from_hex(content)?)?;
        }
        _ => anyhow::bail!("not a command"),
    }
    answer(&format!("acked {}", acked.recv()?))
}

fn publish(shared: &Shared, wakers: &[Arc<Waker>], content: Vec<u8>) -> anyhow::Result<()> {
    let began = now();
    let sequence = shared.response().0 + 1;
    let response = (sequence, framed(sequence, content));
    let called = now();
    *shared
        .response
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = response;
    for waker in wakers {
        waker.wake()?;
    }
    answer(&format!("published {began} {called} {}", now()))
}

/// As long as a response of `pointsman-xds`.
fn framed(sequence: u64, body: Vec<u8>) -> Bytes {
    let response = DeltaDiscoveryResponse {
        system_version_info: format!("{sequence:032x}"),
        resources: vec![Resource {
            name: NAME.to_owned(),
            version: format!("{sequence:032x}"),
            resource: Some(Any {
                type_url: TYPE_URL.to_owned(),
                value: body,
            }),
            ..Default::default()
        }],
        type_url: TYPE_URL.to_owned(),
        nonce: format!("{:x}.{:x}-{sequence}", now(), std::process::id()),
        control_plane: Some(ControlPlane {
            identifier: format!("{:x}.{:x}", now(), std::process::id()),
        }),
        ..Default::default()
    };
    let mut frame = Vec::new();
    wire::put_message(&mut frame, &response.encode_to_vec());
    frame.into()
}

/// Two processors do the whole run; one thread alone takes longer.
const SHARDS: usize = 2;
