//! PgBouncer before Patroni: an operator pauses it, hands over, points it at the new primary and resumes.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::{
    ports::Port,
    postgres::{Session, connect},
    process::{Launch, Process, ServerUser, Signal},
};
use tokio::time::{Instant, sleep};

use super::patroni::{Node, PATIENCE};

/// A running PgBouncer that pools by transaction.
#[derive(Debug)]
pub(super) struct PgBouncer {
    port: Port,
    settings: PathBuf,
    users: PathBuf,
    databases: Vec<String>,
    _process: Process,
}

impl PgBouncer {
    pub(super) fn start(
        folder: &Path,
        program: &Path,
        primary: &Node,
        databases: &[&str],
    ) -> Result<Self> {
        let (port, settings, users) = (
            Port::reserve()?,
            folder.join("pgbouncer.ini"),
            folder.join("users.txt"),
        );
        fs::write(&users, "\"app\" \"\"\n\"postgres\" \"\"\n")?;
        let databases: Vec<String> = databases.iter().map(|name| (*name).to_owned()).collect();
        let text = text(&port, &users, primary.address(), &databases);
        fs::write(&settings, text)?;
        let process = Launch::new("PgBouncer", program, folder.join("pgbouncer.log"))
            .arg(&settings)
            .user(ServerUser::find()?)
            .end_signal(Signal::Term)
            .start()?;
        Ok(Self {
            port,
            settings,
            users,
            databases,
            _process: process,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.port.on_loopback()
    }

    /// Has `from` hand over to `to` while clients wait. They go on once `to` is the primary.
    pub(super) async fn hand_over(&self, from: &Node, to: &Node) -> Result<()> {
        let (console, target) = (self.console().await?, to.session("postgres").await?);
        console.batch_execute("PAUSE").await.context("PAUSE")?;
        let resume = async {
            until_primary(&target, to).await?;
            let text = text(&self.port, &self.users, to.address(), &self.databases);
            fs::write(&self.settings, text)?;
            console.batch_execute("RELOAD").await.context("RELOAD")?;
            console.batch_execute("RESUME").await.context("RESUME")
        };
        tokio::try_join!(from.hand_over(to), resume)?;
        Ok(())
    }

    /// A session of the operator's.
    async fn console(&self) -> Result<Session> {
        let port = self.port.number();
        let place = format!("host=127.0.0.1 port={port} user=postgres dbname=pgbouncer");
        connect(&place).await.context("PgBouncer's console")
    }
}

/// Waits until the server says that it is no standby any more.
async fn until_primary(session: &Session, node: &Node) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = session.query_one("SELECT pg_is_in_recovery()", &[]).await?;
        if !row.try_get::<_, bool>(0)? {
            return Ok(());
        }
        let name = node.name;
        ensure!(
            Instant::now() < deadline,
            "{name} is still a standby after {PATIENCE:?}"
        );
        sleep(LOOK_AGAIN).await;
    }
}

fn text(port: &Port, users: &Path, primary: SocketAddr, databases: &[String]) -> String {
    let (ip, to, listen) = (primary.ip(), primary.port(), port.number());
    let ways = databases
        .iter()
        .map(|name| format!("{name} = host={ip} port={to}\n"));
    let (ways, users): (String, _) = (ways.collect(), users.display());
    format!(
        "\
[databases]
{ways}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = trust
auth_file = {users}
admin_users = postgres
pool_mode = transaction
default_pool_size = 24
max_client_conn = 200
"
    )
}

const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_database_is_pointed_at_the_primary() {
        let port = Port::reserve().unwrap();
        let databases = ["orders".to_owned(), "billing".to_owned()];
        let primary = "127.0.0.1:15000".parse().unwrap();
        let text = text(&port, Path::new("/users"), primary, &databases);
        let (ways, _) = text.split_once("[pgbouncer]").unwrap();
        let expected = "[databases]\norders = host=127.0.0.1 port=15000\n\
                        billing = host=127.0.0.1 port=15000\n\n";
        assert_eq!(ways, expected);
    }
}
