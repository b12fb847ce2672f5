use std::{io::ErrorKind, net::SocketAddr};

use anyhow::{anyhow, bail};
use tokio::net::TcpListener;

/// Listens on `address`, for `whom`.
pub(super) async fn bind(
    whom: &str,
    flag: &str,
    address: SocketAddr,
) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let todo = REMEDIES
            .iter()
            .find(|(kind, _)| *kind == error.kind())
            .map_or("choose another address", |(_, todo)| todo);
        anyhow!("cannot listen for {whom} on {address} ({flag}): {error}; {todo}")
    })
}

const REMEDIES: [(ErrorKind, &str); 3] = [
    (
        ErrorKind::AddrInUse,
        "another process listens there: stop it, or choose another address",
    ),
    (
        ErrorKind::AddrNotAvailable,
        "this machine has no such address: choose one that it has",
    ),
    (
        ErrorKind::PermissionDenied,
        "this user may not listen there: choose a port above 1023",
    ),
];

/// Whoever reaches the admin listener commands the fleet, and it has no TLS.
pub(super) fn check_admin(address: SocketAddr, anywhere: bool) -> anyhow::Result<()> {
    if !anywhere && !address.ip().is_loopback() {
        bail!(
            "--admin-listen {address} is not a loopback address: whoever reaches it commands the \
             fleet, unencrypted; listen on 127.0.0.1 and tunnel there, or say \
             --admin-plaintext-anywhere"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_the_listener_and_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind("sidecars", "--xds-listen", address).await.unwrap_err();
        let words = error.to_string();
        assert!(
            words.starts_with(&format!(
                "cannot listen for sidecars on {address} (--xds-listen): "
            )),
            "{words}"
        );
        assert!(
            words.ends_with("stop it, or choose another address"),
            "{words}"
        );
    }

    #[test]
    fn the_admin_listener_stays_on_loopback_unless_told() {
        let anywhere = "0.0.0.0:18001".parse().unwrap();
        assert!(check_admin(anywhere, false).is_err());
        assert!(check_admin(anywhere, true).is_ok());
        assert!(check_admin("[::1]:18001".parse().unwrap(), false).is_ok());
    }
}
