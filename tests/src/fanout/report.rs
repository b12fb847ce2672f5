//! What a run found, and how that stands towards the goals.

mod goals;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::goals::Goal;
use super::figure::{Figure, rounded};

/// The content of `target/bench/fanout.json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Streams of each server, each on a connection of its own.
    pub streams: usize,
    /// Changes that every server was timed with, in turns.
    pub rounds: usize,
    pub servers: BTreeMap<&'static str, Side>,
    /// Why a server is missing.
    pub skipped: Option<String>,
    /// Median push-to-all-ACKs of Pointsman by that of go-control-plane's better cache.
    pub all_acks_vs_gcp_best: Option<f64>,
    /// The same by that of the floor.
    pub all_acks_vs_floor: f64,
    /// This crate's HTTP/2 by the `h2` crate's, under the same server.
    pub own_vs_h2: Ratios,
    /// This build by another one.
    pub vs_baseline: Option<Ratios>,
    pub publish_call: PublishCall,
    pub stuck: Stuck,
    pub databases: Databases,
    pub mtls: Mtls,
    pub goals: Vec<Goal>,
}

/// One server.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Side {
    /// From the news to the moment when the last client has it.
    pub push_to_last_ms: Figure,
    /// From the news to the moment when the server has all ACKs.
    pub push_to_all_acks_ms: Figure,
    /// Processor time of the server by streams, ACK included.
    pub cpu_us_per_push: Figure,
    /// How long the call that publishes takes.
    pub publish_call_ms: Figure,
    /// Resident memory by streams, before the first change and after the last.
    pub rss_kb_per_idle_stream: f64,
    pub rss_kb_per_used_stream: f64,
    /// From dropping all connections to all of them synced again.
    pub storm_s: Figure,
}

/// Figures of one server by those of another. Times are medians.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratios {
    pub cpu_per_push: f64,
    pub push_to_all_acks: f64,
    pub rss_per_idle_stream: f64,
    pub rss_per_used_stream: f64,
}

impl Ratios {
    pub(super) fn of(side: &Side, other: &Side) -> Self {
        let ratio = |of: fn(&Side) -> f64| rounded(of(side) / of(other));
        Self {
            cpu_per_push: ratio(|side| side.cpu_us_per_push.median),
            push_to_all_acks: ratio(|side| side.push_to_all_acks_ms.median),
            rss_per_idle_stream: ratio(|side| side.rss_kb_per_idle_stream),
            rss_per_used_stream: ratio(|side| side.rss_kb_per_used_stream),
        }
    }
}

/// Whether publishing gets longer with more streams.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PublishCall {
    pub few_streams: usize,
    pub few_ms: Figure,
    pub many_streams: usize,
    pub many_ms: Figure,
}

/// What clients that do not read cost.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Stuck {
    pub clients: usize,
    pub pairs: usize,
    /// The others' 99th percentile of push-to-client, median of all rounds.
    pub others_p99_ms_without: f64,
    pub others_p99_ms_with: f64,
    /// Median over the pairs of the second by the first.
    pub others_p99_ratio: f64,
    /// Resident memory for each client that never reads, after `changes` changes.
    pub rss_kb_each: f64,
    pub changes: usize,
}

/// What other databases in the catalogue cost. Ratios are medians over the pairs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Databases {
    pub pairs: usize,
    pub few: usize,
    pub many: usize,
    pub all_acks_ms_few: f64,
    pub all_acks_ms_many: f64,
    pub all_acks_ratio: f64,
    pub cpu_us_few: f64,
    pub cpu_us_many: f64,
    pub cpu_ratio: f64,
}

/// Pointsman with mutual TLS.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Mtls {
    pub streams: usize,
    pub push_to_all_acks_ms: Figure,
    pub cpu_us_per_push: Figure,
    pub rss_kb_per_idle_stream: f64,
    pub rss_kb_per_used_stream: f64,
    /// Until all clients had connected, with a whole handshake each, and were synced.
    pub connect_s: f64,
}

impl Report {
    /// Says how it stands towards the goals, `ours` being Pointsman's side of it.
    #[must_use]
    pub(super) fn with_goals(self, ours: &Side) -> Self {
        let goals = goals::goals(&self, ours);
        Self { goals, ..self }
    }
}
