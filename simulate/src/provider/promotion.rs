use std::time::Duration;

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use pointsman_cutover::ports::{
    FenceToken, GuardedPromotion, Observation, Observe as _, PromoteAnswer, ProviderError,
    Replication as _,
};

use super::control::Control;

#[async_trait]
impl GuardedPromotion for Control {
    /// The conditions are the server's own, at the moment when it has the statement.
    async fn promote(
        &self,
        token: FenceToken,
        deadline: UnixMillis,
    ) -> Result<PromoteAnswer, ProviderError> {
        let asked = self.ask_world("promote it", move |world, side| {
            let wall = world.wall();
            let server = world.server(side);
            let mut databases = server.tables.databases.values();
            let open = databases.any(|it| it.allow_connections && it.datname != "postgres");
            let holds = server.in_recovery
                && server.position >= token.marker.lsn
                && server.clock(wall) < deadline
                && !open;
            if holds {
                world.promote();
            }
            Ok(holds)
        });
        if asked.await? {
            return Ok(PromoteAnswer::Asked);
        }
        Ok(match self.replay().await?.in_recovery {
            true => PromoteAnswer::Refused,
            false => PromoteAnswer::AlreadyPrimary,
        })
    }

    async fn await_primary(&self, within: Duration) -> Result<Observation, ProviderError> {
        let deadline = self.deadline(within);
        while self.replay().await?.in_recovery {
            if self.has_passed(deadline) {
                return Err(self.timed_out("its promotion", within, "it is in recovery"));
            }
            self.pause().await;
        }
        self.observe().await
    }
}
