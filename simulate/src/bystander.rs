//! Another standby of the source, which the migration does not move.

use std::time::Duration;

use pointsman_catalog::ServerName;
use pointsman_cutover::ports::{Observation, ProviderError};

use crate::{
    network::unreachable,
    schedule::Timer,
    server::SYSTEM,
    world::{Shared, World},
};

/// `red`, where it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bystander {
    up: bool,
    promoted_at: Option<u64>,
    /// The engine has seen it follow the source when its switch began.
    listed: bool,
}

impl Bystander {
    pub(crate) fn appear(&mut self) {
        self.up = true;
    }

    /// Whether it follows the source.
    pub(crate) fn streams(self) -> bool {
        self.up && self.promoted_at.is_none()
    }

    /// The engine asks who follows the source.
    pub(crate) fn is_listed(&mut self) {
        self.listed = self.streams();
    }

    /// Whether an engine that looks from then on finds a second primary.
    pub(crate) fn is_seen_as_primary(self, from: u64) -> bool {
        self.up && self.listed && self.promoted_at.is_some_and(|at| at < from)
    }

    /// Whoever promoted it stops it.
    pub(crate) fn heal(&mut self) {
        self.up = self.streams();
    }
}

impl World {
    pub(crate) fn promote_bystander(&mut self) {
        if self.bystander.streams() {
            self.bystander.promoted_at = Some(self.now());
        }
    }
}

impl Shared {
    /// What it says of itself.
    pub(crate) async fn ask_bystander(
        &self,
        name: &ServerName,
    ) -> Result<Observation, ProviderError> {
        let way = {
            let mut world = self.world();
            if world.bystander.up {
                world.some(120..600)
            } else {
                SILENCE
            }
        };
        Timer::new(self, Duration::from_micros(way)).await;
        let world = self.world();
        if !world.bystander.up {
            return Err(unreachable(name, "connection refused"));
        }
        let in_recovery = world.bystander.promoted_at.is_none();
        let position = world.blue.position;
        Ok(Observation {
            system_identifier: SYSTEM.to_owned(),
            timeline: if in_recovery { 1 } else { 2 },
            in_recovery,
            position,
            replayed: Some(position),
            version: 150_018,
            clock: world.wall(),
            databases: Vec::new(),
        })
    }
}

pub(crate) const BYSTANDER: &str = "red";
/// A server that is stopped says nothing for so long.
const SILENCE: u64 = 400_000;
