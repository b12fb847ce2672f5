//! The standbys that commits wait for.

use pointsman_cutover::{machine::Side, ports::Synchronous};

use crate::{
    bystander::BYSTANDER,
    network::name,
    server::{STANDBY_SLOT, Server},
    world::World,
};

/// `synchronous_standby_names`: in its file, and in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct SynchronousNames {
    pub(crate) file: String,
    pub(crate) in_force: String,
}

impl Server {
    /// A setting that it was started with.
    pub(crate) fn wait_for(&mut self, names: &str) {
        self.synchronous = SynchronousNames {
            file: names.to_owned(),
            in_force: names.to_owned(),
        };
    }
}

impl World {
    /// The setting is copied with a server, so both have the same.
    pub(crate) fn wait_for_standbys(&mut self) {
        let names = match self.some(0..6) {
            0 => "green",
            1 => "ANY 1 (green, red)",
            _ => "",
        };
        self.former_synchronous = names;
        self.blue.wait_for(names);
        self.green.wait_for(names);
    }

    /// Who streams from a server, each with its slot.
    pub(crate) fn standbys(&self, side: Side) -> Vec<(&'static str, Option<&'static str>)> {
        let mut standbys = Vec::new();
        if side == Side::Target || !self.blue.up {
            return standbys;
        }
        if self.target_streams() {
            standbys.push((name(Side::Target), Some(STANDBY_SLOT)));
        }
        if self.bystander.streams() {
            standbys.push((BYSTANDER, None));
        }
        standbys
    }

    pub(crate) fn synchronous(&self, side: Side) -> Synchronous {
        let names = self.server(side).synchronous.in_force.clone();
        let (wanted, named) = parsed(&names);
        let standbys = self.standbys(side).into_iter();
        let connected = standbys.filter(|(name, _)| named.contains(name) || named.contains(&"*"));
        let enough = connected.count() >= wanted;
        Synchronous { names, enough }
    }

    /// Whether a commit there is acknowledged to nobody.
    pub(crate) fn commits_wait(&self, side: Side) -> bool {
        let Synchronous { names, enough } = self.synchronous(side);
        !names.is_empty() && !enough
    }
}

/// How many, and of whom: `FIRST n (…)`, `ANY n (…)`, `n (…)`, or a list, which wants one.
fn parsed(names: &str) -> (usize, Vec<&str>) {
    let (head, list) = names.split_once('(').unwrap_or(("", names));
    let wanted = head.split_whitespace().find_map(|word| word.parse().ok());
    let named = list.trim_end_matches(')').split(',').map(str::trim);
    (wanted.unwrap_or(1), named.collect())
}
