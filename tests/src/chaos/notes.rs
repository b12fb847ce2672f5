//! What happened in a round, as it happens.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::plan::Blow;

/// Everybody of a round writes here.
#[derive(Debug)]
pub(super) struct Notes {
    began: Instant,
    noted: Mutex<Noted>,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    /// By whom it fell on.
    pub(super) kills: BTreeMap<&'static str, u64>,
    pub(super) cuts: BTreeMap<&'static str, u64>,
    /// How often an operator was asked to decide.
    pub(super) needs_operator: u64,
    /// A line for everything, with its time.
    pub(super) story: Vec<String>,
}

impl Notes {
    pub(super) fn begin() -> Self {
        Self {
            began: Instant::now(),
            noted: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, line: impl AsRef<str>) {
        let at = self.began.elapsed().as_secs_f64();
        let line = line.as_ref();
        self.lock().story.push(format!("+{at:7.3} s  {line}"));
    }

    pub(super) fn struck(&self, blow: Blow) {
        self.tell(blow.to_string());
        let mut noted = self.lock();
        let (counts, label) = match blow {
            Blow::Kill(party) => (&mut noted.kills, party.label()),
            Blow::Sever(link) | Blow::Silence(link) => (&mut noted.cuts, link.label()),
        };
        *counts.entry(label).or_default() += 1;
    }

    pub(super) fn operator_was_asked(&self) {
        self.lock().needs_operator += 1;
    }

    pub(super) fn all(&self) -> Noted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
