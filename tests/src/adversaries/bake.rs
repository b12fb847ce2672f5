//! An attack in the bake, and what `status` names of it.

use std::time::Duration;

use anyhow::Result;
use pointsman_lab::postgres::PostgresServer;
use tokio::time::{Instant, sleep};

use super::{
    attack::{Acknowledged, Adversary, Kind},
    round::{LOOK_AGAIN, SOON, Stage},
};

/// What was acknowledged in the bake on the server that had been left.
#[derive(Default)]
pub(super) struct InTheBake {
    pub(super) count: u64,
    pub(super) within: Duration,
    pub(super) not_named: Vec<String>,
}

impl Stage {
    /// Attacks the server that was left for a moment, if there is a bake, and waits until `status` names
    /// that. Where somebody promoted a server, it names what was written there before the bake as well.
    pub(super) async fn in_the_bake(&mut self, source: &PostgresServer) -> Result<InTheBake> {
        let status = self.settled().await?;
        let bakes = status["state"] == "baking";
        let mut before = self.log.acknowledged().len();
        match self.plan.kind {
            Kind::OtherPromoter => before = 0,
            // It serves.
            Kind::TargetPromoter if bakes => return Ok(InTheBake::default()),
            Kind::TargetPromoter => before = 0,
            Kind::Walsender | Kind::Kept | Kind::Opener | Kind::ControlRole => {}
        }
        if bakes {
            let server = self.third.as_ref().unwrap_or(source);
            let times = (BAKE_PACE, Duration::ZERO);
            let adversary = Adversary::start(self.plan.kind, server, &self.log, times).await;
            let (had, began) = (self.log.acknowledged().len(), Instant::now());
            sleep(BAKE_PACE * TRIES_IN_THE_BAKE).await;
            // A promotion takes its time.
            while self.third.is_some()
                && self.log.acknowledged().len() == had
                && began.elapsed() < SOON
            {
                sleep(BAKE_PACE).await;
            }
            adversary.end().await?;
        }
        let open = self.log.acknowledged().split_off(before);
        let count = if bakes { open.len() as u64 } else { 0 };
        let named = self.until_named(open).await?;
        Ok(InTheBake { count, ..named })
    }

    pub(super) async fn until_named(&mut self, open: Vec<Acknowledged>) -> Result<InTheBake> {
        let mut found = InTheBake::default();
        let Some(latest) = open.iter().map(|write| write.at).max() else {
            return Ok(found);
        };
        loop {
            self.look().await?;
            let named = open.iter().map(|write| (write, self.named.after(write)));
            let late = named
                .clone()
                .filter(|(_, after)| after.is_none_or(|after| after > IN_TIME));
            let within = named.filter_map(|(_, after)| after).max();
            found.within = within.unwrap_or_default();
            found.not_named = late.map(|(write, _)| write.to_string()).collect();
            if found.not_named.is_empty() || latest.elapsed() > IN_TIME {
                return Ok(found);
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// A record names eight transactions; more are counted.
const BAKE_PACE: Duration = Duration::from_millis(100);
const TRIES_IN_THE_BAKE: u32 = 5;
/// What was written in the bake is named within this time.
const IN_TIME: Duration = Duration::from_secs(5);
