//! Many runs, counted.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Result;
use serde::Serialize;

use crate::{
    ledger::PROMISES,
    run::{Case, Fault, Outcome, run},
};

/// What came of many runs.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// `pass` or `fail`.
    pub verdict: &'static str,
    /// Runs in which the seed decides what goes wrong.
    pub seeds: u64,
    /// Runs with one fault, at one message of an undisturbed migration.
    pub crossed: u64,
    pub violations: u64,
    /// Per promise, how many runs broke it.
    pub promises: BTreeMap<&'static str, u64>,
    /// Per state, how many migrations ended there.
    pub ends: BTreeMap<&'static str, u64>,
    /// Per kind of trouble, how often it was planned.
    pub troubles: BTreeMap<String, u64>,
    /// Runs in which an operator gave something up by name.
    pub gave_up: u64,
    pub acknowledged: u64,
    pub messages: u64,
    pub simulated_hours: f64,
    /// The first runs that broke a promise.
    pub broken: Vec<Outcome>,
}

/// An undisturbed migration there and back, and one that is completed, each crossed with every fault at
/// each of its messages.
///
/// # Errors
/// The simulation itself is at fault.
pub fn crossed() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut wanted = vec!["rolled_back", "completed"];
    for seed in 0.. {
        let case = Case {
            undisturbed: true,
            ..Case::of(seed)
        };
        let outcome = run(case, false)?;
        let Some(found) = wanted.iter().position(|end| *end == outcome.end) else {
            continue;
        };
        wanted.remove(found);
        for at in 1..=outcome.messages {
            cases.extend(Fault::ALL.map(|fault| Case {
                crossed: Some((at, fault)),
                ..Case::of(seed)
            }));
        }
        if wanted.is_empty() {
            break;
        }
    }
    Ok(cases)
}

/// Runs `cases`, on `threads` threads. With `until_violation` no new run begins after the first that
/// broke a promise.
///
/// # Errors
/// The simulation itself is at fault.
pub fn run_all(cases: &[Case], threads: usize, until_violation: bool) -> Result<Report> {
    let report = Mutex::new(Report {
        promises: PROMISES.into_iter().map(|promise| (promise, 0)).collect(),
        ..Report::default()
    });
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let work = || -> Result<()> {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let outcome = run(*case, false)?;
            if until_violation && !outcome.violations.is_empty() {
                stop.store(true, Ordering::Relaxed);
            }
            let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
            report.add(*case, outcome);
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| anyhow::anyhow!("a run panicked"))??;
        }
        Ok(())
    })?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.verdict = if report.violations == 0 {
        "pass"
    } else {
        "fail"
    };
    report.broken.sort_by_key(|outcome| outcome.seed);
    Ok(report)
}

impl Report {
    fn add(&mut self, case: Case, outcome: Outcome) {
        match case.crossed {
            Some(_) => self.crossed += 1,
            None => self.seeds += 1,
        }
        *self.ends.entry(outcome.end).or_default() += 1;
        for trouble in &outcome.troubles {
            let kind = trouble.split(": ").nth(1).unwrap_or_default();
            let kind = kind.split([' ', '{']).next().unwrap_or_default();
            *self.troubles.entry(kind.to_owned()).or_default() += 1;
        }
        self.gave_up += u64::from(!outcome.accepted.is_empty());
        self.acknowledged += outcome.acknowledged as u64;
        self.messages += outcome.messages;
        self.simulated_hours += outcome.simulated_ms as f64 / 3_600_000.0;
        if outcome.violations.is_empty() {
            return;
        }
        self.violations += 1;
        for violation in &outcome.violations {
            *self.promises.entry(violation.promise).or_default() += 1;
        }
        if self.broken.len() < KEPT {
            self.broken.push(outcome);
        }
    }
}

/// Any seed can be run again.
const KEPT: usize = 20;
