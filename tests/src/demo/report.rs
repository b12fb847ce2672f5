//! What the demo measured, and which of its promises hold.

use serde::Serialize;

use super::Security;
use pointsman_lab::workload::Figures;

/// The content of `target/demo/report.json` and of `target/demo-managed/report.json`.
///
/// All error fields count from a hold to the first acknowledged write after it, client by client (see [`Figures`]).
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Sidecars, each a real Envoy.
    pub sidecars: usize,
    /// Databases that moved.
    pub databases: usize,
    /// Clients that write.
    pub clients: usize,
    /// Clients that read.
    pub readers: usize,
    /// Writes acknowledged in the whole run.
    pub acked_writes: u64,
    /// Writes whose answer was cut off; each was looked up before it was tried again.
    pub in_doubt_writes: u64,
    /// Acknowledged writes that are absent in the end.
    pub lost_writes: usize,
    /// Writes that are there more than once.
    pub duplicate_writes: usize,
    /// Rows that stand behind a higher number of the same client.
    pub out_of_order_writes: usize,
    /// Rows that nobody was told of and nobody was left in doubt about.
    pub phantom_writes: usize,
    /// Sessions that could not be opened during a switch.
    pub connect_errors: u64,
    /// The most errors of any one writer that keeps its session, in one switch.
    pub max_errors_per_session_client_per_switch: u64,
    /// Errors, during a switch, of writers that connect for each write.
    pub errors_of_reconnecting_clients: u64,
    /// Errors, during a switch, of reads over new connections.
    pub reader_errors_new_connections: u64,
    /// Errors that the broken target caused: from the break to the rollback's hold, and the same refusals after it.
    pub errors_of_the_fault: u64,
    /// Those of them that came after the rollback's hold, before the target was closed.
    pub errors_of_the_fault_after_the_hold: u64,
    /// Errors outside the switches and the fault.
    pub errors_elsewhere: u64,
    /// Acknowledged writes per second before the switch.
    pub acked_writes_per_s: Rates,
    /// The switch to the target.
    pub forward: SwitchReport,
    /// The switch back.
    pub rollback: RollbackReport,
    /// On managed servers: who had which sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// `pass` or `fail`.
    pub verdict: &'static str,
    /// Each promise that was broken.
    pub broken_promises: Vec<String>,
}

/// Acknowledged writes per second.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rates {
    /// Before the first switch.
    pub before: f64,
    /// Between the switches, until the target was broken.
    pub between: f64,
    /// After the way back.
    pub after: f64,
}

/// What one switch cost. In milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct SwitchReport {
    /// From the last write that the old writer acknowledged to the first that the new one did.
    pub write_pause_ms: f64,
    /// The longest time that any one writer waited for the acknowledgement of a write.
    pub worst_client_ms: f64,
    /// The longest time that any one reader waited for an answer.
    pub reader_gap_ms: f64,
    /// From publishing the hold until the fleet had acknowledged it.
    pub barrier_ms: f64,
}

/// What the way back cost.
#[derive(Debug, Clone, Serialize)]
pub struct RollbackReport {
    /// What started it: `alarm`, or `operator`.
    pub trigger: &'static str,
    /// The message of the alarm.
    pub cause: String,
    /// From the break of the target, that is with the time that the alarm needed to notice.
    #[serde(flatten)]
    pub switch: SwitchReport,
    /// From the break of the target to the hold: noticing it and deciding.
    pub fault_ms: f64,
    /// The part of the write pause after the hold.
    pub write_pause_after_hold_ms: f64,
    /// The part of the longest wait after the hold.
    pub worst_client_after_hold_ms: f64,
    /// Acknowledged writes that are absent in the end.
    pub lost_writes: usize,
}

impl SwitchReport {
    pub(super) fn new(figures: &Figures, barrier_ms: f64) -> Self {
        Self {
            write_pause_ms: figures.write_pause_ms,
            worst_client_ms: figures.worst_client_ms,
            reader_gap_ms: figures.reader_gap_ms,
            barrier_ms,
        }
    }
}

impl Report {
    /// Holds the figures against the promises and writes down the verdict.
    #[must_use]
    pub(super) fn judged(mut self) -> Self {
        self.broken_promises = self.broken();
        self.verdict = match self.broken_promises.is_empty() {
            true => "pass",
            false => "fail",
        };
        self
    }

    fn broken(&self) -> Vec<String> {
        let mut broken: Vec<_> = self.security.iter().flat_map(Security::broken).collect();
        for (promise, count) in self.zeros() {
            if count > 0 {
                broken.push(format!("{promise}, but {count} times it was otherwise"));
            }
        }
        let session = self.max_errors_per_session_client_per_switch;
        if session > 1 {
            broken.push(format!(
                "an open session is closed once per switch at most, but one client had {session} errors"
            ));
        }
        for side in [&self.forward, &self.rollback.switch] {
            let pause_ms = side.write_pause_ms;
            if pause_ms <= 0.0 {
                broken.push(format!(
                    "there is one writer at a time, but two acknowledged for {:.1} ms",
                    -pause_ms
                ));
            }
        }
        let Rates {
            before,
            between,
            after,
        } = self.acked_writes_per_s;
        for (when, rate) in [("between", between), ("after", after)] {
            if rate < before * KEPT {
                broken.push(format!(
                    "the rate of writes does not collapse {when} the switches, but it was {rate:.0}/s, and {before:.0}/s before them"
                ));
            }
        }
        if self.rollback.trigger != "alarm" {
            let cause = &self.rollback.cause;
            broken.push(format!(
                "the alarm sends the writer back, but it was this: {cause}"
            ));
        }
        broken
    }

    /// What must not happen once, with how often it did.
    fn zeros(&self) -> [(&'static str, u64); 8] {
        [
            ("nothing acknowledged is lost", self.lost_writes as u64),
            ("no write is applied twice", self.duplicate_writes as u64),
            (
                "each client's writes stay in order",
                self.out_of_order_writes as u64,
            ),
            (
                "no row is there that nobody wrote",
                self.phantom_writes as u64,
            ),
            (
                "clients wait to connect and do not fail",
                self.connect_errors,
            ),
            (
                "clients that connect for each write notice nothing",
                self.errors_of_reconnecting_clients,
            ),
            (
                "readers that connect anew notice nothing",
                self.reader_errors_new_connections,
            ),
            ("nobody has errors without a switch", self.errors_elsewhere),
        ]
    }
}

/// The share of the rate before the switches that is kept. The clients pace themselves, so a server that serves reaches all
/// of it; a machine that does something else besides may halve it, and does not take nine tenths.
const KEPT: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn good_report() -> Report {
        let switch = SwitchReport {
            write_pause_ms: 80.0,
            worst_client_ms: 250.0,
            reader_gap_ms: 240.0,
            barrier_ms: 3.0,
        };
        Report {
            sidecars: 3,
            databases: 2,
            clients: 24,
            readers: 4,
            acked_writes: 10_000,
            in_doubt_writes: 12,
            lost_writes: 0,
            duplicate_writes: 0,
            out_of_order_writes: 0,
            phantom_writes: 0,
            connect_errors: 0,
            max_errors_per_session_client_per_switch: 1,
            errors_of_reconnecting_clients: 0,
            reader_errors_new_connections: 0,
            errors_of_the_fault: 80,
            errors_of_the_fault_after_the_hold: 3,
            errors_elsewhere: 0,
            acked_writes_per_s: Rates {
                before: 500.0,
                between: 480.0,
                after: 510.0,
            },
            forward: switch.clone(),
            rollback: RollbackReport {
                trigger: "alarm",
                cause: "alarm of write probe".to_owned(),
                switch,
                fault_ms: 800.0,
                write_pause_after_hold_ms: 200.0,
                worst_client_after_hold_ms: 300.0,
                lost_writes: 0,
            },
            security: None,
            verdict: "",
            broken_promises: Vec::new(),
        }
    }

    #[test]
    fn doubts_and_the_faults_errors_break_no_promise() {
        let report = good_report().judged();
        assert_eq!(report.verdict, "pass", "{:?}", report.broken_promises);
    }

    #[test]
    fn each_promise_is_named_when_it_breaks() {
        type Spoil = fn(&mut Report);
        let spoil: [(&str, Spoil); 9] = [
            ("lost", |r| r.lost_writes += 1),
            ("twice", |r| r.duplicate_writes += 1),
            ("in order", |r| r.out_of_order_writes += 1),
            ("nobody wrote", |r| r.phantom_writes += 1),
            ("wait to connect", |r| r.connect_errors += 1),
            ("had 2 errors", |r| {
                r.max_errors_per_session_client_per_switch += 1;
            }),
            ("one writer", |r| r.rollback.switch.write_pause_ms -= 100.0),
            ("between the switches", |r| {
                r.acked_writes_per_s.between /= 20.0;
            }),
            ("the alarm", |r| r.rollback.trigger.clone_from(&"operator")),
        ];
        for (word, spoil) in spoil {
            let mut report = good_report();
            spoil(&mut report);
            let Report {
                verdict,
                broken_promises,
                ..
            } = report.judged();
            assert_eq!((verdict, broken_promises.len()), ("fail", 1), "{word}");
            assert!(
                broken_promises.iter().all(|message| message.contains(word)),
                "{broken_promises:?}"
            );
        }
    }

    #[test]
    fn what_managed_servers_promise_is_judged_too() {
        let secure = Security {
            sessions: 40,
            control_sessions: 6,
            promotion_requests: 1,
            ..Security::default()
        };
        let judged = |security: Security| {
            let security = Some(security);
            Report {
                security,
                ..good_report()
            }
            .judged()
            .broken_promises
        };
        assert_eq!(judged(secure.clone()), Vec::<String>::new());
        type Spoil = fn(&mut Security);
        let spoil: [(&str, Spoil); 4] = [
            ("encrypted", |s| s.unencrypted_sessions += 1),
            ("superuser", |s| s.superuser_sessions += 1),
            ("none was seen", |s| s.control_sessions = 0),
            ("asked for once", |s| s.promotion_requests += 1),
        ];
        for (word, spoil) in spoil {
            let mut security = secure.clone();
            spoil(&mut security);
            let broken = judged(security);
            assert!(broken.len() == 1 && broken[0].contains(word), "{broken:?}");
        }
    }

    #[test]
    fn a_machine_that_is_busy_breaks_no_promise() {
        let mut slow = good_report();
        let Rates { before, after, .. } = slow.acked_writes_per_s;
        slow.acked_writes_per_s = Rates {
            before: before / 4.0,
            between: before / 9.0,
            after: after / 3.0,
        };
        assert_eq!(slow.judged().broken_promises, Vec::<String>::new());
    }

    #[test]
    fn the_report_has_the_fields_that_its_readers_expect() {
        let json = serde_json::to_value(good_report().judged()).unwrap();
        for field in [
            "/forward/barrier_ms",
            "/rollback/reader_gap_ms",
            "/rollback/trigger",
        ] {
            assert!(
                json.pointer(field).is_some(),
                "{field} is missing in {json:#}"
            );
        }
    }
}
