//! What happens in a round, and when. All of it follows from the seed and the round's number.

use std::{fmt, time::Duration};

use fastrand::Rng;

/// Who can be killed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Party {
    ControlPlane,
    Source,
    Target,
    Sidecar(usize),
}

/// A way through the network that can be cut.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Link {
    ControlPlaneSource,
    ControlPlaneTarget,
    /// Both directions: the standby's, and the reverse stream's.
    SourceTarget,
    /// Of every sidecar: all connect to the same address.
    SidecarsSource,
    SidecarsTarget,
    SidecarControlPlane(usize),
}

/// What happens to a party or a link.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Blow {
    /// SIGKILL; started again later.
    Kill(Party),
    /// Every connection is closed, and each new one.
    Sever(Link),
    /// Every connection stays open and carries nothing.
    Silence(Link),
}

/// A blow, and its mending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strike {
    /// After the phase began.
    pub(super) after: Duration,
    pub(super) blow: Blow,
    pub(super) lasts: Duration,
}

/// How an operator means to end a bake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    Rollback,
    Complete,
}

/// A round's.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) at_start: Vec<Strike>,
    pub(super) at_switch: Vec<Strike>,
    pub(super) in_bake: Vec<Strike>,
    pub(super) at_ending: Vec<Strike>,
    pub(super) bake: Duration,
    pub(super) ending: Ending,
    /// The operator asserts that a server is down for good while it is down, where that is offered.
    pub(super) is_impatient: bool,
}

impl Plan {
    /// That of round `number`, with so many sidecars.
    pub(super) fn of(seed: u64, number: u64, sidecars: usize) -> Self {
        let rng = &mut Rng::with_seed(seed.wrapping_mul(MIX).wrapping_add(number));
        let bake = milliseconds(rng, 500, 12_000);
        let starts_badly = rng.u8(..4) == 0;
        Self {
            at_start: strikes(rng, usize::from(starts_badly), BEGINNING, sidecars),
            at_switch: under_way(rng, sidecars),
            in_bake: {
                let count = rng.usize(..=2);
                strikes(rng, count, bake, sidecars)
            },
            at_ending: under_way(rng, sidecars),
            bake,
            ending: match rng.u8(..5) {
                0..=2 => Ending::Rollback,
                _ => Ending::Complete,
            },
            is_impatient: rng.u8(..4) == 0,
        }
    }

    /// Whether alarms are as they are shipped in the rounds of the stage that is set up for `number`; else
    /// they are slow to fire, and bakes last.
    pub(super) fn has_sharp_alarms(seed: u64, number: u64) -> bool {
        Rng::with_seed(seed.wrapping_add(number)).bool()
    }
}

impl Ending {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Complete => "complete",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Rollback => Self::Complete,
            Self::Complete => Self::Rollback,
        }
    }
}

impl Party {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ControlPlane => "control plane",
            Self::Source => "source",
            Self::Target => "target",
            Self::Sidecar(_) => "sidecar",
        }
    }
}

impl Link {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::ControlPlaneSource => "control plane - source",
            Self::ControlPlaneTarget => "control plane - target",
            Self::SourceTarget => "source - target",
            Self::SidecarsSource => "sidecars - source",
            Self::SidecarsTarget => "sidecars - target",
            Self::SidecarControlPlane(_) => "sidecar - control plane",
        }
    }
}

impl Blow {
    /// What it falls on. One falls on the same place at a time.
    fn place(self) -> (Option<Party>, Option<Link>) {
        match self {
            Self::Kill(party) => (Some(party), None),
            Self::Sever(link) | Self::Silence(link) => (None, Some(link)),
        }
    }

    fn any(rng: &mut Rng, sidecars: usize) -> Self {
        let sidecar = rng.usize(..sidecars);
        let link = match rng.u8(..20) {
            0..=3 => return Self::Kill(Party::ControlPlane),
            4..=6 => return Self::Kill(Party::Source),
            7..=9 => return Self::Kill(Party::Target),
            10 | 11 => return Self::Kill(Party::Sidecar(sidecar)),
            12 | 13 => Link::ControlPlaneSource,
            14 | 15 => Link::ControlPlaneTarget,
            16 => Link::SourceTarget,
            17 => Link::SidecarsSource,
            18 => Link::SidecarsTarget,
            _ => Link::SidecarControlPlane(sidecar),
        };
        match rng.bool() {
            true => Self::Sever(link),
            false => Self::Silence(link),
        }
    }
}

/// One to three while a verb is under way; two may fall together.
fn under_way(rng: &mut Rng, sidecars: usize) -> Vec<Strike> {
    let count = [0, 1, 1, 1, 1, 2, 2, 2, 3, 3][rng.usize(..10)];
    strikes(rng, count, BEGINNING, sidecars)
}

/// So many, each on another place, most of them early `within` that time.
fn strikes(rng: &mut Rng, count: usize, within: Duration, sidecars: usize) -> Vec<Strike> {
    let mut strikes: Vec<Strike> = Vec::new();
    while strikes.len() < count {
        let blow = Blow::any(rng, sidecars);
        let same = |strike: &Strike| strike.blow.place() == blow.place();
        if strikes.iter().any(same) {
            continue;
        }
        let early = rng.f64();
        strikes.push(Strike {
            after: within.mul_f64(early * early),
            blow,
            lasts: match rng.u8(..5) {
                0 => milliseconds(rng, 6_000, 14_000),
                _ => milliseconds(rng, 200, 4_000),
            },
        });
    }
    strikes
}

fn milliseconds(rng: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.u64(from..=to))
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(Party::Sidecar(number)) => write!(f, "sidecar {number} is killed"),
            Self::Kill(party) => write!(f, "{} is killed", party.label()),
            Self::Sever(link) => write!(f, "{} is severed", link.label()),
            Self::Silence(link) => write!(f, "{} is silent", link.label()),
        }
    }
}

/// Most of a switch and of a rollback lies within.
const BEGINNING: Duration = Duration::from_millis(2_500);
/// Keeps neighbouring seeds apart.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all_of(plan: &Plan) -> Vec<Strike> {
        let phases = [
            &plan.at_start,
            &plan.at_switch,
            &plan.in_bake,
            &plan.at_ending,
        ];
        phases.into_iter().flatten().copied().collect()
    }

    #[test]
    fn the_seed_decides() {
        let shown = |seed| format!("{:?}", Plan::of(seed, 7, 3));
        assert_eq!(shown(1), shown(1));
        assert_ne!(shown(1), shown(2));
    }

    #[test]
    fn an_hour_strikes_everywhere() {
        let plans: Vec<_> = (0..60).map(|number| Plan::of(1, number, 3)).collect();
        let places = plans.iter().flat_map(all_of);
        let places: BTreeSet<_> = places.map(|strike| strike.blow.place()).collect();
        assert_eq!(places.len(), 3 + 3 + 5 + 3);
        assert!(plans.iter().any(|plan| plan.ending == Ending::Rollback));
        assert!(plans.iter().any(|plan| plan.ending == Ending::Complete));
        assert!(plans.iter().any(|plan| plan.at_switch.len() > 1));
    }

    #[test]
    fn no_place_is_struck_twice_in_a_phase() {
        for number in 0..200 {
            let Plan {
                at_switch, in_bake, ..
            } = Plan::of(3, number, 3);
            for phase in [at_switch, in_bake] {
                let places: BTreeSet<_> = phase.iter().map(|it| it.blow.place()).collect();
                assert_eq!(places.len(), phase.len());
            }
        }
    }
}
