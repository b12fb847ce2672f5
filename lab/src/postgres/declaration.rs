//! A server in the file that `database apply` takes.

use std::{fmt::Write as _, fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path};

use anyhow::Result;

use super::server::PostgresServer;

/// How a control plane reaches a server.
#[derive(Clone, Copy, Debug)]
pub struct Ways<'a> {
    /// The fence level.
    pub fence: &'a str,
    /// Where the control role connects: the server, or a gate before it.
    pub control: SocketAddr,
    /// Where the replication role does; `None` where the control role streams as well.
    pub replication: Option<SocketAddr>,
}

impl PostgresServer {
    /// The table of this server. Passwords may not stand in it: they go to files below `folder`.
    pub fn declaration(&self, ways: Ways<'_>, folder: &Path) -> Result<String> {
        self.declaration_at(self.address(), ways, folder)
    }

    /// The same where sidecars connect to `endpoint`, a gate before it.
    pub fn declaration_at(
        &self,
        endpoint: SocketAddr,
        ways: Ways<'_>,
        folder: &Path,
    ) -> Result<String> {
        let name = self.name();
        let mut text = format!(
            "[servers.{name}]\nendpoint = \"{endpoint}\"\nfence = \"{}\"\n",
            ways.fence
        );
        let role = self.hosting().control_role();
        self.declare(&mut text, "control", role, ways.control, folder)?;
        if let Some(at) = ways.replication {
            self.declare(&mut text, "replication", "repl", at, folder)?;
        }
        self.declare(&mut text, "probe", "probe", endpoint, folder)?;
        Ok(text)
    }

    fn declare(
        &self,
        text: &mut String,
        field: &str,
        role: &str,
        at: SocketAddr,
        folder: &Path,
    ) -> Result<()> {
        writeln!(
            text,
            "{field} = \"{}\"",
            self.access().address(self.name(), role, at)
        )?;
        if let Some(password) = self.hosting().password(role) {
            let file = folder.join(format!("{}-{field}-password", self.name()));
            fs::write(&file, password)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            writeln!(text, "{field}_password = {{ file = {file:?} }}")?;
        }
        Ok(())
    }
}
