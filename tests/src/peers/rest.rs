//! Patroni's REST API, as far as a switchover needs it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::http;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;

/// A cluster as `GET /cluster` tells it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cluster {
    members: Vec<Member>,
}

#[derive(Clone, Debug, Deserialize)]
struct Member {
    name: String,
    role: String,
    state: String,
}

impl Cluster {
    pub(super) async fn ask(node: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(node).await?;
        let answer = http::get(stream, &node.to_string(), "/cluster", &[]).await?;
        ensure!(answer.status() == "200", "GET /cluster: {}", answer.head);
        serde_json::from_str(&answer.body).context("the answer to GET /cluster")
    }

    /// Whether `name` leads and runs.
    pub(super) fn is_led_by(&self, name: &str) -> bool {
        self.has(name, "leader", "running")
    }

    /// Whether `name` is a replica that streams.
    pub(super) fn streams_to(&self, name: &str) -> bool {
        self.has(name, "replica", "streaming")
    }

    fn has(&self, name: &str, role: &str, state: &str) -> bool {
        let members = self.members.iter();
        members
            .filter(|member| member.name == name)
            .any(|member| member.role == role && member.state == state)
    }
}

/// Asks for a switchover; the answer comes when Patroni takes it for done.
pub(super) async fn switchover(node: SocketAddr, leader: &str, candidate: &str) -> Result<()> {
    let stream = TcpStream::connect(node).await?;
    let wanted = json!({ "leader": leader, "candidate": candidate }).to_string();
    let answer = http::post(stream, &node.to_string(), "/switchover", &wanted).await?;
    ensure!(
        answer.status() == "200",
        "POST /switchover from {leader} to {candidate}: {} {}",
        answer.status(),
        answer.body
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_only_starts_does_not_stream() {
        let cluster = |state: &str| -> Cluster {
            let members = json!({ "members": [
                { "name": "blue", "role": "leader", "state": "running", "port": 1 },
                { "name": "green", "role": "replica", "state": state, "lag": 0 },
            ] });
            serde_json::from_value(members).unwrap()
        };
        assert!(cluster("streaming").is_led_by("blue"));
        assert!(cluster("streaming").streams_to("green"));
        assert!(!cluster("starting").streams_to("green"));
        assert!(!cluster("streaming").streams_to("blue"));
    }
}
