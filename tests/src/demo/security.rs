//! What the demo on managed servers shows beside the story: no superuser, and TLS that is verified.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::Story;
use pointsman_lab::Lab;
use pointsman_lab::postgres::{self, PostgresServer};

/// What was seen of the servers' sessions.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Security {
    /// How Pointsman refused a server that offers no TLS.
    pub refused_without_tls: String,
    /// How it refused a server that has a certificate for another name.
    pub refused_wrong_name: String,
    /// Sessions over TCP on both servers, summed over all looks.
    pub sessions: i64,
    /// Those of them that were not encrypted.
    pub unencrypted_sessions: i64,
    /// Those of them whose role was a superuser.
    pub superuser_sessions: i64,
    /// Sessions of Pointsman's control role among them.
    pub control_sessions: i64,
    /// How often the cloud's API was asked to promote.
    pub promotion_requests: u64,
}

impl Security {
    /// Tries one server without TLS and one with the wrong name. The same tries go through without the fault.
    pub(super) async fn tried(lab: &Lab, story: Story) -> anyhow::Result<Self> {
        let blue = &lab.pair.source;
        let root = blue.root_certificate().context("no certificates")?;
        let root = root.to_string_lossy();
        let passfile = passfile(lab, blue)?;
        let at = blue.address();
        let verified = |name: &str| {
            format!(
                "host={name} hostaddr={} port={} user={} sslmode=verify-full sslrootcert={root} \
                 passfile={passfile}",
                at.ip(),
                at.port(),
                blue.hosting().control_role()
            )
        };
        accepted(lab, &verified("blue.lab.example")).await?;
        let refused_wrong_name = refused(lab, &verified("white.lab.example")).await?;
        story.tell(&format!("a server with another name: {refused_wrong_name}"));

        let plain = postgres::start_stranger("grey", lab.scratch.path(), &[]).await?;
        let grey = plain.login("postgres", plain.address());
        accepted(lab, &format!("{grey} sslmode=disable")).await?;
        let verified = format!("{grey} sslmode=verify-full sslrootcert={root}");
        let refused_without_tls = refused(lab, &verified).await?;
        story.tell(&format!("a server without TLS: {refused_without_tls}"));
        Ok(Self {
            refused_without_tls,
            refused_wrong_name,
            ..Self::default()
        })
    }

    /// Counts the sessions of this moment.
    pub(super) async fn look(&mut self, lab: &Lab) -> anyhow::Result<()> {
        for server in [&lab.pair.source, &lab.pair.target] {
            let session = server.client("postgres").await?;
            let control = server.hosting().control_role();
            let row = session.query_one(SESSIONS, &[&control]).await?;
            self.sessions += row.try_get::<_, i64>(0)?;
            self.unencrypted_sessions += row.try_get::<_, i64>(1)?;
            self.superuser_sessions += row.try_get::<_, i64>(2)?;
            self.control_sessions += row.try_get::<_, i64>(3)?;
        }
        Ok(())
    }

    /// What was otherwise than promised.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (promise, count) in [
            ("every session is encrypted", self.unencrypted_sessions),
            ("nobody is a superuser", self.superuser_sessions),
        ] {
            if count > 0 {
                broken.push(format!("{promise}, but {count} times it was otherwise"));
            }
        }
        if self.control_sessions == 0 {
            broken.push("Pointsman's own sessions are looked at, but none was seen".to_owned());
        }
        if self.promotion_requests != 1 {
            let requests = self.promotion_requests;
            broken.push(format!(
                "the promotion is asked for once, but it was {requests} times"
            ));
        }
        broken
    }
}

/// `recover` opens one session as a control plane would, and reads.
async fn try_control(lab: &Lab, control: &str) -> anyhow::Result<(Option<i32>, String)> {
    let tried = lab
        .control_plane
        .cli(&["recover", "--control", control])
        .await?;
    Ok((tried.code, tried.stderr.trim().to_owned()))
}

async fn accepted(lab: &Lab, control: &str) -> anyhow::Result<()> {
    let (code, said) = try_control(lab, control).await?;
    ensure!(code == Some(0), "{control} was refused: {said}");
    Ok(())
}

async fn refused(lab: &Lab, control: &str) -> anyhow::Result<String> {
    let (code, said) = try_control(lab, control).await?;
    ensure!(
        code == Some(1),
        "{control} was not refused: {code:?} {said}"
    );
    Ok(said)
}

fn passfile(lab: &Lab, server: &PostgresServer) -> anyhow::Result<String> {
    let role = server.hosting().control_role();
    let password = server.hosting().password(role).context("no password")?;
    let path = lab.scratch.path().join("passfile");
    fs::write(&path, format!("*:*:*:{role}:{password}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(path.to_string_lossy().into_owned())
}

/// All sessions over TCP: the lab's own go through a socket.
const SESSIONS: &str = "SELECT count(*), count(*) FILTER (WHERE ssl IS NOT TRUE), \
    count(*) FILTER (WHERE rolsuper), count(*) FILTER (WHERE rolname = $1) \
    FROM pg_stat_activity LEFT JOIN pg_stat_ssl USING (pid) JOIN pg_roles r ON r.oid = usesysid \
    WHERE client_addr IS NOT NULL";
