use std::{io::ErrorKind, net::SocketAddr};

use anyhow::{anyhow, bail};
use tokio::net::TcpListener;

/// Listens on `address`, for these clients.
pub(super) async fn bind(
    clients: &str,
    flag: &str,
    address: SocketAddr,
) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let todo = REMEDIES
            .iter()
            .find(|(kind, _)| *kind == error.kind())
            .map_or("choose another address", |(_, todo)| todo);
        anyhow!("cannot listen for {clients} on {address} ({flag}): {error}; {todo}")
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

/// A listener and what protects it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exposure {
    pub(super) address: SocketAddr,
    /// Clients prove who they are.
    pub(super) tls: bool,
    /// The operator has said that plain text may leave this machine.
    pub(super) plaintext_anywhere: bool,
}

impl Exposure {
    fn is_admitted(self) -> bool {
        self.tls || self.plaintext_anywhere || self.address.ip().is_loopback()
    }
}

/// Refuses plain text beyond loopback: everybody who reaches the admin listener commands the
/// fleet.
pub(super) fn check_admin(admin: Exposure) -> anyhow::Result<()> {
    if !admin.is_admitted() {
        bail!(
            "--admin-listen {} is not a loopback address: everybody who reaches it commands the fleet, \
             unencrypted; give it a certificate (--admin-tls-cert), or listen on 127.0.0.1 and \
             tunnel there, or say --admin-plaintext-anywhere",
            admin.address
        );
    }
    Ok(())
}

/// Refuses plain text beyond loopback: everybody who reaches the sidecars' listener passes for
/// any sidecar.
pub(super) fn check_xds(xds: Exposure) -> anyhow::Result<()> {
    if !xds.is_admitted() {
        bail!(
            "--xds-listen {} is not a loopback address: everybody who reaches it is told where every \
             database is, and passes for any sidecar, unencrypted; give it a certificate \
             (--xds-tls-cert), or listen on 127.0.0.1, or say --xds-plaintext-anywhere",
            xds.address
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
        let message = error.to_string();
        assert!(
            message.starts_with(&format!(
                "cannot listen for sidecars on {address} (--xds-listen): "
            )),
            "{message}"
        );
        assert!(
            message.ends_with("stop it, or choose another address"),
            "{message}"
        );
    }

    #[test]
    fn plain_text_stays_on_loopback_unless_told() {
        let at = |address: &str, tls, plaintext_anywhere| Exposure {
            address: address.parse().unwrap(),
            tls,
            plaintext_anywhere,
        };
        for check in [check_admin, check_xds] {
            assert!(check(at("0.0.0.0:1", false, false)).is_err());
            assert!(check(at("192.0.2.1:1", false, false)).is_err());
            assert!(check(at("0.0.0.0:1", false, true)).is_ok());
            assert!(check(at("0.0.0.0:1", true, false)).is_ok());
            assert!(check(at("[::1]:1", false, false)).is_ok());
        }
    }
}
