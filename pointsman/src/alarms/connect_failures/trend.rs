//! Which sidecars have been failing, and for how long; pure.

use std::collections::BTreeMap;

use pointsman_catalog::NodeId;
use pointsman_cutover::ports::Monotonic;

use super::settings::ConnectFailureSettings;

/// The counts of one database's writer as they grow.
#[derive(Debug)]
pub(super) struct Trend {
    settings: ConnectFailureSettings,
    nodes: BTreeMap<NodeId, Count>,
}

/// The sidecars that fire the alarm, with how often each failed meanwhile.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Failing {
    pub(super) reporting: usize,
    pub(super) nodes: Vec<(NodeId, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    total: u64,
    at: Monotonic,
    /// It has failed at each look since, counted from this total.
    failing: Option<(Monotonic, u64)>,
}

impl Trend {
    pub(super) fn new(settings: ConnectFailureSettings) -> Self {
        Self {
            settings,
            nodes: BTreeMap::new(),
        }
    }

    /// Takes the totals of all sidecars that report, and says whether the alarm fires.
    pub(super) fn look(
        &mut self,
        totals: BTreeMap<NodeId, u64>,
        now: Monotonic,
    ) -> Option<Failing> {
        let ConnectFailureSettings {
            per_second,
            percent,
            lasting,
        } = self.settings;
        let reporting = totals.len();
        // A sidecar that does not report is not counted as failing.
        let former = std::mem::take(&mut self.nodes);
        self.nodes = totals
            .into_iter()
            .map(|(node, total)| {
                let count = next(former.get(&node), total, now, per_second);
                (node, count)
            })
            .collect();
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|(node, count)| {
                let (since, from) = count.failing?;
                let long = now.since(since) >= lasting;
                long.then(|| (node.clone(), count.total.saturating_sub(from)))
            })
            .collect();
        let enough = nodes.len() as u64 * 100 >= reporting as u64 * u64::from(percent);
        (nodes.len() >= WITNESSES && enough).then_some(Failing { reporting, nodes })
    }
}

/// The word of one sidecar moves nobody: its host may be what is broken, or it may lie.
const WITNESSES: usize = 2;

fn next(former: Option<&Count>, total: u64, now: Monotonic, per_second: u32) -> Count {
    let new = Count {
        total,
        at: now,
        failing: None,
    };
    // A sidecar that counts from the beginning again has failed at nothing yet.
    let Some(former) = former.filter(|former| former.total <= total) else {
        return new;
    };
    let failures = total - former.total;
    let millis = now.since(former.at).as_millis();
    let fails = u128::from(failures) * 1000 >= u128::from(per_second) * millis && failures > 0;
    Count {
        failing: fails.then(|| former.failing.unwrap_or((former.at, former.total))),
        ..new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Looks once a second, with the totals of sidecars a, b, …; a gap is a silent one.
    fn fires(percent: u32, looks: &[&[Option<u64>]]) -> Option<(usize, Failing)> {
        let mut trend = Trend::new(ConnectFailureSettings {
            per_second: 5,
            percent,
            lasting: Duration::from_secs(3),
        });
        looks.iter().enumerate().find_map(|(second, totals)| {
            let names = ["a", "b", "c", "d"].map(|name| NodeId::new(name).unwrap());
            let totals = names.into_iter().zip(totals.iter());
            let totals = totals.filter_map(|(node, total)| Some((node, (*total)?)));
            let now = Monotonic::new(Duration::from_secs(second as u64));
            Some((second, trend.look(totals.collect(), now)?))
        })
    }

    fn node(name: &str) -> NodeId {
        NodeId::new(name).unwrap()
    }

    #[test]
    fn failing_without_a_pause_fires_with_names_and_counts() {
        let looks = [0, 1, 2, 3, 4, 5, 6, 7, 8]
            .map(|n| [Some(7), Some(100 + 40 * n), Some(30 * n), Some(7)]);
        let looks: Vec<_> = looks.iter().map(|totals| &totals[..]).collect();
        let failing = Failing {
            reporting: 4,
            nodes: vec![(node("b"), 120), (node("c"), 90)],
        };
        assert_eq!(fires(10, &looks), Some((3, failing)));
        assert_eq!(fires(51, &looks), None, "two of four are not enough");
    }

    #[test]
    fn the_word_of_one_sidecar_moves_nobody() {
        for looks in [
            (0..9).map(|n| vec![Some(40 * n)]).collect::<Vec<_>>(),
            (0..9).map(|n| vec![Some(40 * n), Some(7)]).collect(),
        ] {
            let looks: Vec<_> = looks.iter().map(|totals| &totals[..]).collect();
            assert_eq!(fires(1, &looks), None);
        }
    }

    #[test]
    fn a_pause_a_silence_or_a_restart_begins_anew() {
        let pause = [0, 40, 80, 81, 120, 160].map(|total| [Some(total); 2]);
        let silence = [Some(0), Some(40), Some(80), None, Some(200), Some(240)].map(|t| [t; 2]);
        let restart = [100, 140, 180, 40, 80, 120].map(|total| [Some(total); 2]);
        for totals in [pause, silence, restart] {
            let looks: Vec<_> = totals.iter().map(|totals| &totals[..]).collect();
            assert_eq!(fires(10, &looks), None, "{totals:?}");
        }
    }

    #[test]
    fn a_few_failures_are_none() {
        let looks: Vec<_> = (0..9).map(|n| [Some(4 * n); 2]).collect();
        let looks: Vec<_> = looks.iter().map(|totals| &totals[..]).collect();
        assert_eq!(fires(1, &looks), None);
    }
}
