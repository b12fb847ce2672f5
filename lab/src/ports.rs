//! Ports that are free, and stay ours until the lab ends.

use std::{
    fs::File,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Result, bail};

use crate::scratch;

// Below the kernel's ephemeral range (32768 and up): an outgoing connection of anybody
// could otherwise take a port between its test and its use. Above the fixed ports of
// well-known services.
const RANGE: RangeInclusive<u16> = 12_000..=31_999;

/// Ports that are tried besides the first.
const TRIES: u32 = 3;

/// A TCP port, reserved against every other lab on this machine until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port at which nothing listens on any address.
    pub fn reserve() -> Result<Self> {
        let folder = scratch::shared_folder("ports")?;
        for number in candidates() {
            let Some(lock) = scratch::try_lock(&folder.join(number.to_string()))? else {
                continue;
            };
            if TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!(
            "no free TCP port between {} and {}",
            RANGE.start(),
            RANGE.end()
        );
    }

    /// Listens at a reserved port of `127.0.0.1`. Between its reservation and its use a program outside of the
    /// lab may take a port; another one is tried then.
    pub(crate) async fn listen() -> Result<(Self, tokio::net::TcpListener)> {
        let mut tries = 0;
        loop {
            let port = Self::reserve()?;
            match tokio::net::TcpListener::bind(port.on_loopback()).await {
                Ok(listener) => return Ok((port, listener)),
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// This port on `127.0.0.1`.
    #[must_use]
    pub fn on_loopback(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.number)
    }
}

/// The number of a port that stays reserved until this process ends.
///
/// # Panics
/// If no port is free.
#[must_use]
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<Port>> = Mutex::new(Vec::new());
    let port = Port::reserve().expect("some port is free");
    let number = port.number();
    RESERVED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(port);
    number
}

/// Every port of the range once, starting where other processes probably do not.
fn candidates() -> impl Iterator<Item = u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let size = u32::from(RANGE.end() - RANGE.start()) + 1;
    let start = process::id()
        .wrapping_mul(7919)
        .wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
    (0..size).filter_map(move |step| {
        let offset = start.wrapping_add(step) % size;
        u16::try_from(offset)
            .ok()
            .map(|offset| RANGE.start() + offset)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: Vec<_> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let numbers: HashSet<_> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let first = Port::reserve().unwrap().number();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let next: Vec<_> = (0..3).map(|_| Port::reserve().unwrap()).collect();
        assert!(next.iter().all(|port| port.number() != first));
    }
}
