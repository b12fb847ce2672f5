//! Switches under a hundred clients that connect for each transaction, on a machine that is full.

mod pgbench;
mod round;

use anyhow::{Context as _, Result};
use pointsman_lab::{result_file::ResultFile, workload::verify::WriteAudit};
use serde::Serialize;

use self::round::Round;

/// Where the report is written.
pub const REPORT: &str = "target/crowd/report.json";

/// What became of the clients over all rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Switches there, and as many back.
    pub rounds: usize,
    pub switches: usize,
    /// Clients of pgbench, a thread each, that connect for each transaction.
    pub clients: usize,
    pub busy_loops: usize,
    /// Transactions of theirs that were committed.
    pub transactions: u64,
    /// Clients of theirs that gave up, over a connection or a transaction that failed.
    pub failed: u64,
    /// What they said then, the first few.
    pub failures: Vec<String>,
    /// Rows that the serving writer lacks of the transactions that were committed.
    pub lost_transactions: u64,
    /// Sessions that were still on their way in, or younger than the hold, when a drain ended.
    pub left_by_a_drain: u64,
    /// The most errors in one switch of one client that keeps its session.
    pub errors_of_a_session: u64,
    /// Acknowledged writes of those clients.
    pub acknowledged_writes: u64,
    pub lost_writes: usize,
    pub duplicate_writes: usize,
    pub out_of_order_writes: usize,
    pub phantom_writes: usize,
    pub write_pause_ms: Vec<f64>,
    pub worst_client_ms: Vec<f64>,
    /// `pass` or `fail`.
    pub verdict: &'static str,
}

/// Runs so many rounds there and back; `tell` hears of each. The report is written after each.
///
/// # Errors
/// A round did not come to its end.
pub async fn run(rounds: usize, mut tell: impl FnMut(&str)) -> Result<Report> {
    let file = ResultFile::fresh(REPORT)?;
    let mut report = Report {
        clients: round::CLIENTS,
        busy_loops: round::BUSY_LOOPS,
        ..Report::default()
    };
    for number in 1..=rounds {
        let round = round::run().await;
        let round = round.with_context(|| format!("round {number}"))?;
        tell(&format!("round {number:>2}: {round}"));
        report.add(round);
        report.verdict = if report.holds() { "pass" } else { "fail" };
        file.write(&report)?;
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, round: Round) {
        let Round {
            crowd,
            rows,
            left_by_a_drain,
            figures,
            acknowledged,
            audit,
        } = round;
        self.rounds += 1;
        self.switches += figures.len();
        self.transactions += crowd.transactions;
        self.failed += crowd.failed;
        self.failures.extend(crowd.failures);
        self.failures.truncate(KEPT);
        self.lost_transactions += crowd.transactions.saturating_sub(rows);
        self.left_by_a_drain += left_by_a_drain;
        for figures in figures {
            let errors = figures.max_errors_per_session_client;
            self.errors_of_a_session = self.errors_of_a_session.max(errors);
            self.write_pause_ms.push(figures.write_pause_ms);
            self.worst_client_ms.push(figures.worst_client_ms);
        }
        self.acknowledged_writes += acknowledged;
        self.count(&audit);
    }

    fn count(&mut self, audit: &WriteAudit) {
        self.lost_writes += audit.lost.len();
        self.duplicate_writes += audit.duplicated.len();
        self.out_of_order_writes += audit.out_of_order.len();
        self.phantom_writes += audit.phantom.len();
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        let wrong = self.lost_writes
            + self.duplicate_writes
            + self.out_of_order_writes
            + self.phantom_writes;
        self.failed == 0
            && self.lost_transactions == 0
            && self.left_by_a_drain == 0
            && self.errors_of_a_session <= 1
            && wrong == 0
    }
}

const KEPT: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_promise_fails_the_report() {
        assert!(Report::default().holds());
        let broken: [fn(&mut Report); 6] = [
            |report| report.failed = 1,
            |report| report.lost_transactions = 1,
            |report| report.left_by_a_drain = 1,
            |report| report.errors_of_a_session = 2,
            |report| report.lost_writes = 1,
            |report| report.phantom_writes = 1,
        ];
        for breaks in broken {
            let mut report = Report::default();
            breaks(&mut report);
            assert!(!report.holds(), "{report:?}");
        }
    }
}
