//! All servers in turns.

use std::collections::BTreeMap;

use anyhow::Context;

use super::figure::{Figure, rounded};
use super::report::Side;
use super::rig::{Push, Rig, Server};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    pub streams: usize,
    pub rounds: usize,
}

/// A server under test, and what it has shown so far.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) rig: Rig,
    idle_kb: f64,
    used_kb: f64,
    pushes: Vec<Push>,
    storms: Vec<f64>,
}

impl Contender {
    pub(super) async fn start(
        name: &'static str,
        server: &Server,
        streams: usize,
    ) -> anyhow::Result<Self> {
        let rig = Rig::start(server, streams).await.context(name)?;
        let idle_kb = rig.resident_kb_per_stream().await?;
        Ok(Self {
            name,
            rig,
            idle_kb,
            used_kb: 0.0,
            pushes: Vec::new(),
            storms: Vec::new(),
        })
    }

    async fn push(&mut self) -> anyhow::Result<()> {
        let streams = self.rig.streams();
        let push = self.rig.push(streams).await.context(self.name)?;
        self.pushes.push(push);
        Ok(())
    }

    pub(super) fn side(&self) -> Option<Side> {
        let figure = |of: fn(&Push) -> f64| Figure::of(self.pushes.iter().map(of));
        Some(Side {
            push_to_last_ms: figure(|push| push.last_ms)?,
            push_to_all_acks_ms: figure(|push| push.acks_ms)?,
            cpu_us_per_push: figure(|push| push.cpu_us)?,
            publish_call_ms: figure(|push| push.call_ms)?,
            rss_kb_per_idle_stream: rounded(self.idle_kb),
            rss_kb_per_used_stream: rounded(self.used_kb),
            storm_s: Figure::of(self.storms.iter().copied())?,
        })
    }
}

/// Every server is up all the time with its own clients, and each round asks each of them once.
/// Other load of the machine hits all alike.
pub(super) async fn run(
    contenders: &mut [Contender],
    extent: Extent,
    tell: &mut impl FnMut(&str),
) -> anyhow::Result<BTreeMap<&'static str, Side>> {
    for contender in &mut *contenders {
        for _ in 0..WARM_UP {
            contender.push().await?;
        }
        contender.pushes.clear();
    }
    for round in 0..extent.rounds {
        for index in order(round, contenders.len()) {
            contenders[index].push().await?;
        }
        if (round + 1).is_multiple_of(10) {
            tell(&format!("{} of {} rounds", round + 1, extent.rounds));
        }
    }
    for contender in &mut *contenders {
        contender.used_kb = contender.rig.resident_kb_per_stream().await?;
    }
    for _ in 0..STORMS {
        for contender in &mut *contenders {
            let storm = contender.rig.storm().await;
            contender.storms.push(storm.context(contender.name)?);
        }
    }
    let sides = contenders.iter();
    let sides = sides.map(|contender| Some((contender.name, contender.side()?)));
    sides.collect::<Option<_>>().context("nothing was measured")
}

/// In which order `count` servers have their turn in a round. What a server leaves behind, such as
/// a garbage collection, falls on the next one, so each follows each other one equally often: a
/// Williams design, complete after `count` rounds, or after twice as many for an odd number.
/// <https://doi.org/10.1071/CH9490149>
fn order(round: usize, count: usize) -> Vec<usize> {
    let zigzag = |place: usize| {
        if place.is_multiple_of(2) {
            count - place / 2
        } else {
            place.div_ceil(2)
        }
    };
    let turns = (0..count).map(|place| (zigzag(place) + round) % count);
    let mut turns: Vec<_> = turns.collect();
    if (round / count.max(1)) % 2 == 1 {
        turns.reverse();
    }
    turns
}

/// Changes before the first that counts.
const WARM_UP: usize = 3;
const STORMS: usize = 3;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_server_follows_each_other_one_equally_often() {
        for count in 1..=7 {
            let mut followers = BTreeMap::<_, usize>::new();
            for round in 0..2 * count {
                let turns = order(round, count);
                for pair in turns.windows(2) {
                    *followers.entry((pair[0], pair[1])).or_default() += 1;
                }
            }
            assert_eq!(followers.len(), count * (count - 1));
            assert!(followers.values().all(|times| *times == 2), "{followers:?}");
        }
    }
}
