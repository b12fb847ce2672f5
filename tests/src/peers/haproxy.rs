//! HAProxy before Patroni: it asks each Patroni whether its server is the primary.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::Result;
use pointsman_lab::{
    ports::Port,
    process::{Launch, Process, ServerUser, Signal},
};

use super::patroni::Patroni;

/// A running HAProxy.
#[derive(Debug)]
pub(super) struct HaProxy {
    port: Port,
    _process: Process,
}

impl HaProxy {
    pub(super) fn start(folder: &Path, program: &Path, cluster: &Patroni) -> Result<Self> {
        let port = Port::reserve()?;
        let file = folder.join("haproxy.cfg");
        fs::write(&file, settings(&port, cluster))?;
        let process = Launch::new("HAProxy", program, folder.join("haproxy.log"))
            .arg("-db")
            .arg("-f")
            .arg(file)
            .user(ServerUser::find()?)
            .end_signal(Signal::Term)
            .start()?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.port.on_loopback()
    }
}

/// As in Patroni's own sample, with quicker checks: each second, and one answer decides.
fn settings(port: &Port, cluster: &Patroni) -> String {
    let servers = [&cluster.blue, &cluster.green].map(|node| {
        let (name, address, check) = (node.name, node.address(), node.rest().port());
        format!("    server {name} {address} maxconn 200 check port {check}\n")
    });
    let (address, servers) = (port.on_loopback(), servers.concat());
    format!(
        "\
global
    maxconn 500
defaults
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s
listen postgres
    bind {address}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 1s fall 1 rise 1 on-marked-down shutdown-sessions
{servers}"
    )
}
