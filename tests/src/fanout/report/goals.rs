//! Goals, and whether they are met.

use serde::Serialize;

use super::{Report, Side};
use crate::fanout::figure::rounded;

/// A figure that is to be at most so large.
#[derive(Debug, Clone, Serialize)]
pub struct Goal {
    pub goal: &'static str,
    pub value: f64,
    pub at_most: f64,
    pub met: bool,
    /// The goal behind the goal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_the_end_at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met_in_the_end: Option<bool>,
}

impl Goal {
    pub(crate) fn new(goal: &'static str, value: f64, at_most: f64) -> Self {
        Self {
            goal,
            value: rounded(value),
            at_most,
            met: value <= at_most,
            in_the_end_at_most: None,
            met_in_the_end: None,
        }
    }

    fn in_the_end(mut self, at_most: f64) -> Self {
        self.in_the_end_at_most = Some(at_most);
        self.met_in_the_end = Some(self.value <= at_most);
        self
    }
}

/// The goals of the whole report, `ours` being Pointsman's side of it.
pub(crate) fn goals(report: &Report, ours: &Side) -> Vec<Goal> {
    let mut goals = Vec::new();
    if let Some(ratio) = report.all_acks_vs_gcp_best {
        let goal = Goal::new("all ACKs, by go-control-plane's better cache", ratio, 0.35);
        goals.push(goal.in_the_end(0.25));
    }
    let call = report.publish_call;
    goals.extend([
        Goal::new("all ACKs, by the floor", report.all_acks_vs_floor, 1.5).in_the_end(1.2),
        Goal::new(
            "CPU of a push with its ACK, µs",
            ours.cpu_us_per_push.median,
            20.0,
        )
        .in_the_end(12.0),
        Goal::new(
            "RSS of an idle stream, kB",
            ours.rss_kb_per_idle_stream,
            12.0,
        )
        .in_the_end(6.0),
        Goal::new(
            "RSS of an idle stream with mutual TLS, kB",
            report.mtls.rss_kb_per_idle_stream,
            40.0,
        ),
        Goal::new(
            "publish call, with many streams by with few",
            call.many_ms.median / call.few_ms.median,
            GROWTH,
        ),
        Goal::new("reconnect storm, s", ours.storm_s.median, 3.0),
        Goal::new(
            "the others' p99 beside stuck clients, by without",
            report.stuck.others_p99_ratio,
            1.05,
        ),
        Goal::new("RSS of a stuck client, kB", report.stuck.rss_kb_each, 64.0),
        Goal::new(
            "all ACKs with many databases, by with one",
            report.databases.all_acks_ratio,
            1.1,
        ),
        Goal::new(
            "CPU with many databases, by with one",
            report.databases.cpu_ratio,
            1.1,
        ),
    ]);
    goals
}

/// A call of some microseconds finds colder caches beside many streams; a call whose cost grows with
/// the streams would take a hundred times as long with a hundred times as many.
const GROWTH: f64 = 3.0;
