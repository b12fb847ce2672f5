//! What a run of the model found, as it is written to `report.json`.

#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{
    fs,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    bounds::{Promotion, Troubles},
    ends::Stuck,
    graph::{Explored, Seen},
    trace::Trace,
    violation::{COMES_THROUGH, REACHES_END, Violation},
};

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub bounds: Troubles,
    /// Of both kinds of promotion.
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    /// Whether two searches, each with a program of its own, went through everything within the bounds
    /// and found the same.
    pub complete: bool,
    pub passes: Vec<Pass>,
    pub properties: Vec<Property>,
    pub reaches_end: ReachesEnd,
    /// What is broken.
    pub broken: Vec<&'static str>,
    pub verdict: String,
    pub seconds: f64,
    /// Of processors, by all threads.
    pub cpu_seconds: f64,
    pub peak_memory_mb: u64,
}

/// One kind of promotion.
#[derive(Clone, Debug, Serialize)]
pub struct Pass {
    pub promotion: Promotion,
    /// That the search which keeps the graph found.
    pub states: usize,
    pub transitions: usize,
    pub depth: usize,
    /// That stateright's search found; `None` where it was left out.
    pub states_by_stateright: Option<usize>,
    /// In the calm that follows.
    pub calm_states: usize,
    pub seen: Seen,
    pub seconds: f64,
    #[serde(skip)]
    pub violated: Vec<(&'static str, Trace)>,
    #[serde(skip)]
    pub stuck: Vec<Stuck>,
}

/// A promise, and whether it holds in all that was explored.
#[derive(Clone, Debug, Serialize)]
pub struct Property {
    pub promise: &'static str,
    pub holds: bool,
    /// Why a violation is known and stands.
    pub known: Option<&'static str>,
    /// How it was broken.
    pub traces: Vec<Trace>,
}

/// From where an end can be reached.
#[derive(Clone, Debug, Serialize)]
pub struct ReachesEnd {
    pub found_by: &'static str,
    /// While both servers come back.
    pub holds: bool,
    /// Where no end can be reached any more, by the servers that are gone for good.
    pub stuck: Vec<Stuck>,
}

impl Pass {
    /// Goes through everything within the bounds, twice.
    pub fn of(promotion: Promotion, troubles: Troubles, threads: usize) -> Self {
        let began = Instant::now();
        let (by_stateright, found) = by_stateright(promotion, troubles, threads);
        let explored = Explored::of(promotion, troubles);
        Self {
            promotion,
            states: explored.states,
            transitions: explored.transitions,
            depth: explored.depth,
            states_by_stateright: by_stateright,
            calm_states: explored.calm_states,
            seen: explored.seen,
            seconds: began.elapsed().as_secs_f64(),
            violated: explored.violated.into_iter().chain(found).collect(),
            stuck: explored.stuck,
        }
    }

    /// Whether both searches found the same worlds.
    pub fn agrees(&self) -> bool {
        self.states_by_stateright
            .is_none_or(|states| states == self.states)
    }
}

/// How many worlds stateright finds, and what is broken in them.
type Found = (Option<usize>, Vec<(&'static str, Trace)>);

#[cfg(feature = "stateright")]
fn by_stateright(promotion: Promotion, troubles: Troubles, threads: usize) -> Found {
    let checked = crate::check::SwitchModel::new(promotion, troubles).check(threads);
    let violated = checked.violated.into_iter().collect();
    (Some(checked.states), violated)
}

#[cfg(not(feature = "stateright"))]
fn by_stateright(_promotion: Promotion, _troubles: Troubles, _threads: usize) -> Found {
    (None, Vec::new())
}

impl Report {
    pub fn new(bounds: Troubles, passes: Vec<Pass>, took: Duration) -> Self {
        let properties: Vec<_> = Violation::ALL
            .map(|violation| property(violation, &passes))
            .into();
        let stuck: Vec<_> = passes.iter().flat_map(|pass| pass.stuck.clone()).collect();
        let reaches_end = ReachesEnd {
            found_by: "a search backward from all ends over a graph of its own, from each explored \
                       world with nothing more going wrong",
            holds: !stuck.iter().any(Stuck::is_broken),
            stuck,
        };
        let complete = passes.iter().all(Pass::agrees);
        let broken = broken(&properties, &reaches_end, &passes);
        let verdict = if complete && broken.is_empty() {
            "holds"
        } else {
            "broken"
        };
        Self {
            bounds,
            states: passes.iter().map(|pass| pass.states).sum(),
            transitions: passes.iter().map(|pass| pass.transitions).sum(),
            depth: passes
                .iter()
                .map(|pass| pass.depth)
                .max()
                .unwrap_or_default(),
            complete,
            passes,
            properties,
            reaches_end,
            broken,
            verdict: verdict.to_owned(),
            seconds: took.as_secs_f64(),
            cpu_seconds: cpu_seconds(),
            peak_memory_mb: peak_memory_mb(),
        }
    }
}

fn broken(properties: &[Property], reaches_end: &ReachesEnd, passes: &[Pass]) -> Vec<&'static str> {
    let unknown = |property: &&Property| !property.holds && property.known.is_none();
    let broken = properties.iter().filter(unknown);
    let mut broken: Vec<_> = broken.map(|property| property.promise).collect();
    if !reaches_end.holds {
        broken.push(REACHES_END);
    }
    if passes.iter().any(|pass| !pass.seen.comes_through()) {
        broken.push(COMES_THROUGH);
    }
    broken
}

fn property(violation: Violation, passes: &[Pass]) -> Property {
    let promise = violation.promise();
    let mut traces = Vec::new();
    for pass in passes {
        let of_this = pass
            .violated
            .iter()
            .filter(|(broken, _)| *broken == promise);
        // Both searches find one; the shorter says more.
        traces.extend(
            of_this
                .map(|(_, trace)| trace)
                .min_by_key(|trace| trace.0.len())
                .cloned(),
        );
    }
    Property {
        promise,
        holds: traces.is_empty(),
        known: violation.known(),
        traces,
    }
}

/// The time that all threads of this process have had a processor.
fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or_default(),
        u32::try_from(spent.tv_nsec).unwrap_or_default(),
    )
    .as_secs_f64()
}

/// The most memory that this process ever had.
fn peak_memory_mb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}
