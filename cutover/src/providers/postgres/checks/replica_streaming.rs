//! The target streams from the source and replays.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::{
    place::Place,
    replication::{RECEIVER, Receiver, STANDBYS, Standby, own_standby},
};
use crate::{
    Lsn,
    checks::{Check, CheckContext, CheckSpec, Finding, Judgement},
};

#[derive(Debug)]
pub(super) struct Streaming;

const SPEC: CheckSpec = CheckSpec::block("C66", "replica.streaming");

const WRITTEN: &str = "
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END::text AS position,
       current_setting('port')::int AS port";

const REPLAYED: &str = "SELECT pg_last_wal_replay_lsn()::text AS position, 0 AS port";

#[derive(Clone, Copy, Debug, Deserialize)]
struct Position {
    position: Option<Lsn>,
    port: u16,
}

#[async_trait]
impl Check for Streaming {
    fn spec(&self) -> CheckSpec {
        SPEC
    }

    async fn once(&self, ctx: &CheckContext<'_>) -> Vec<Finding> {
        let began = ctx.clock.monotonic();
        let (source, target) = (Place::source(ctx), Place::target(ctx));
        let judgement = streaming(source, target).await;
        vec![target.finding(SPEC, began, judgement)]
    }
}

async fn streaming(source: Place<'_>, target: Place<'_>) -> Result<Judgement, String> {
    let (standbys, written, receiver) = futures_util::join!(
        source.ask::<Standby>(STANDBYS),
        source.ask_one::<Position>(WRITTEN),
        target.ask_one::<Receiver>(RECEIVER),
    );
    let (standbys, written, receiver) = (standbys?, written?, receiver?);
    if receiver.hidden() {
        return Err(format!(
            "the control role may not read pg_stat_wal_receiver of {}; GRANT pg_read_all_stats",
            target.name()
        ));
    }
    let ports = [written.port, source.server.endpoint.port()];
    let link = Link {
        source: source.name(),
        target: target.name(),
        ports: &ports,
    };
    let judgement = match link.fault(&receiver, &standbys) {
        Some((message, remedy)) => Judgement::fail(message, remedy),
        None => follows(&target, written.position, receiver.replayed).await?,
    };
    Ok(judgement.with(&[receiver]).with(&standbys))
}

/// A replica between two servers, and the ports by which the source may be known.
struct Link<'a> {
    source: &'a str,
    target: &'a str,
    ports: &'a [u16],
}

impl Receiver {
    /// PostgreSQL shows the receiver's pid to everybody, the rest to pg_read_all_stats.
    fn hidden(&self) -> bool {
        self.pid.is_some() && self.status.is_none()
    }
}

impl Link<'_> {
    /// Why the target does not stream from the source, and what to do.
    fn fault(&self, receiver: &Receiver, standbys: &[Standby]) -> Option<(String, String)> {
        let (source, target) = (self.source, self.target);
        let network = format!(
            "look into the log of {target}: primary_conninfo, the slot, and the network to {source}"
        );
        if !receiver.in_recovery {
            return Some((
                format!("the target {target} is not in recovery: it streams from nobody"),
                format!("build {target} as a standby of {source}"),
            ));
        }
        if receiver.status.as_deref() != Some("streaming") {
            let status = receiver.status.as_deref().unwrap_or("no walreceiver");
            return Some((
                format!("the target {target} is not streaming from {source} ({status})"),
                network,
            ));
        }
        if receiver.replay_pause.as_deref() != Some("not paused") {
            return Some((
                format!("replay on the target {target} is paused"),
                format!("SELECT pg_wal_replay_resume() on {target}"),
            ));
        }
        let Some(sender) = own_standby(receiver, standbys) else {
            let slot = receiver.slot_name.as_deref().unwrap_or("none");
            return Some((
                format!(
                    "the target {target} streams from {}, and no walsender of {source} answers to \
                     it (slot {slot})",
                    receiver.sender()
                ),
                format!("let {target} stream from {source} itself, not from another standby"),
            ));
        };
        // Without a slot only the port tells one origin from another.
        let port_fits = receiver
            .sender_port
            .is_some_and(|port| self.ports.contains(&port));
        if receiver.slot_name.is_none() && !port_fits {
            return Some((
                format!(
                    "the target {target} streams from {}, which is not a port of {source}",
                    receiver.sender()
                ),
                format!(
                    "let {target} stream from {source}, best with a slot of its own \
                     (primary_slot_name), by which it is known for certain"
                ),
            ));
        }
        sender.fault().map(|state| {
            (
                format!("the walsender of {source} for {target} {state}"),
                network,
            )
        })
    }
}

impl Receiver {
    fn sender(&self) -> String {
        let host = self.sender_host.as_deref().unwrap_or("?");
        match self.sender_port {
            Some(port) => format!("{host} port {port}"),
            None => host.to_owned(),
        }
    }
}

impl Standby {
    fn fault(&self) -> Option<String> {
        if self.state.as_deref() != Some("streaming") {
            return Some(format!(
                "is in state {}",
                self.state.as_deref().unwrap_or("?")
            ));
        }
        match self.last_reply_s {
            Some(seconds) if seconds < LAST_REPLY_S => None,
            Some(seconds) => Some(format!("had its last answer {seconds:.0} s ago")),
            None => Some("has had no answer yet".to_owned()),
        }
    }
}

/// Waits until the target has replayed what the source had written a moment ago. Progress
/// is enough: a busy pair is never even.
async fn follows(
    target: &Place<'_>,
    written: Option<Lsn>,
    before: Option<Lsn>,
) -> Result<Judgement, String> {
    let clock = target.clock();
    let deadline = clock.deadline(REPLAY_PATIENCE);
    loop {
        let replayed = target.ask_one::<Position>(REPLAYED).await?.position;
        if replayed >= written {
            let name = target.name();
            return Ok(Judgement::pass(format!("{name} streams and replays")));
        }
        if deadline.has_passed() {
            return Ok(judge_progress(target.name(), written, before, replayed));
        }
        clock.sleep(POLL).await;
    }
}

fn judge_progress(
    target: &str,
    written: Option<Lsn>,
    before: Option<Lsn>,
    now: Option<Lsn>,
) -> Judgement {
    let at = |lsn: Option<Lsn>| lsn.map_or_else(|| "nowhere".to_owned(), |lsn| lsn.to_string());
    if now > before {
        return Judgement::warn(
            format!(
                "{target} replays, and is behind: at {}, where the source was at {} {} s before",
                at(now),
                at(written),
                REPLAY_PATIENCE.as_secs()
            ),
            "wait until it has caught up; a switch gives up when it has not in time",
        );
    }
    Judgement::fail(
        format!(
            "replay on {target} stands still at {}, and the source is at {}",
            at(now),
            at(written)
        ),
        format!(
            "look for a query on {target} that recovery waits for (max_standby_streaming_delay)"
        ),
    )
}

/// Three times the default of `wal_receiver_status_interval`.
const LAST_REPLY_S: f64 = 30.0;

const REPLAY_PATIENCE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{checks::Grade, providers::postgres::checks::place::rows};

    const LINK: Link<'static> = Link {
        source: "blue",
        target: "green",
        ports: &[5432],
    };

    fn with(mut row: Value, change: &Value) -> Value {
        for (key, value) in change.as_object().unwrap() {
            row[key] = value.clone();
        }
        row
    }

    fn receiver(change: &Value) -> Receiver {
        let row = json!({
            "in_recovery": true, "received": "0/3000000", "replayed": "0/3000000",
            "replay_pause": "not paused", "pid": 8, "status": "streaming",
            "sender_host": "127.0.0.1", "sender_port": 5432, "slot_name": "green"
        });
        serde_json::from_value(with(row, change)).unwrap()
    }

    fn standbys(change: &Value) -> Vec<Standby> {
        let row = json!({
            "pid": 9, "usename": "repl", "application_name": "walreceiver", "client_addr": null,
            "state": "streaming", "sync_state": "async", "replay_lsn": "0/3000000",
            "slot_name": "green", "behind_bytes": 0, "last_reply_s": 0.5
        });
        rows(json!([with(row, change)]))
    }

    fn fault(on_target: &Value, on_source: &Value) -> Option<String> {
        LINK.fault(&receiver(on_target), &standbys(on_source))
            .map(|(message, _)| message)
    }

    #[test]
    fn a_target_that_streams_over_its_slot_passes_behind_any_address() {
        assert_eq!(fault(&json!({}), &json!({})), None);
        let proxied = json!({"sender_host": "proxy", "sender_port": 7000});
        assert_eq!(fault(&proxied, &json!({})), None);
    }

    #[test]
    fn without_a_slot_the_port_must_be_the_sources() {
        let slotless = json!({"slot_name": null});
        assert_eq!(fault(&slotless, &slotless), None);
        let elsewhere = json!({"slot_name": null, "sender_port": 5433});
        let message = fault(&elsewhere, &slotless).unwrap();
        assert!(
            message.contains("port 5433, which is not a port of blue"),
            "{message}"
        );
    }

    #[test]
    fn a_slot_that_serves_nobody_on_the_source_fails() {
        let message = fault(&json!({"slot_name": "other"}), &json!({})).unwrap();
        assert!(
            message.contains("no walsender of blue answers"),
            "{message}"
        );
    }

    #[test]
    fn every_broken_link_has_its_message() {
        for (on_target, on_source, expected) in [
            (json!({"in_recovery": false}), json!({}), "not in recovery"),
            (
                json!({"status": "waiting"}),
                json!({}),
                "not streaming from blue (waiting)",
            ),
            (
                json!({"status": null, "pid": null}),
                json!({}),
                "no walreceiver",
            ),
            (json!({"replay_pause": "paused"}), json!({}), "is paused"),
            (json!({}), json!({"state": "catchup"}), "in state catchup"),
            (json!({}), json!({"last_reply_s": 31.0}), "31 s ago"),
        ] {
            let message = fault(&on_target, &on_source).unwrap();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_receiver_that_may_not_be_read_is_unknown() {
        assert!(receiver(&json!({"status": null})).hidden());
        assert!(!receiver(&json!({"status": null, "pid": null})).hidden());
    }

    #[test]
    fn replay_that_moves_warns_and_replay_that_stands_fails() {
        let lsn = |text: &str| Some(text.parse().unwrap());
        let judged = |now| judge_progress("green", lsn("0/9"), lsn("0/5"), now).grade;
        assert_eq!(judged(lsn("0/7")), Grade::Warn);
        assert_eq!(judged(lsn("0/5")), Grade::Fail);
        assert_eq!(judged(None), Grade::Fail);
    }
}
