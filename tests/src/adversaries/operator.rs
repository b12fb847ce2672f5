//! The operator of a round, who reads what is said and gives up what is named alone.

use anyhow::{Context as _, Result, bail};
use pointsman_lab::postgres::PostgresServer;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    attack::Kind,
    round::{LOOK_AGAIN, NAME, SOON, Stage},
};

impl Stage {
    /// Rolls back or completes, and cancels what was undone.
    pub(super) async fn bring_to_its_end(
        &mut self,
        source: &PostgresServer,
        target: &PostgresServer,
    ) -> Result<String> {
        // It is left by the request that ends the bake.
        let left = match self.plan.completes {
            true => source,
            false => target,
        };
        let deadline = Instant::now() + SOON;
        let mut accepts = false;
        loop {
            let status = self.settled().await?;
            self.named.read(&status);
            let state = status["state"].as_str().unwrap_or_default().to_owned();
            match state.as_str() {
                "completed" | "rolled_back" | "cancelled" => return Ok(state),
                "undone" | "prepared" | "planned" => {
                    self.cli(&["cancel", NAME]).await?;
                }
                "needs_operator" => self.decide(&status).await?,
                _baking => accepts = self.end_the_bake(left, accepts).await?,
            }
            if Instant::now() > deadline {
                bail!("it does not end: {status:#}");
            }
        }
    }

    /// Returns whether what was named is given up by the next request.
    async fn end_the_bake(&mut self, left: &PostgresServer, accepts: bool) -> Result<bool> {
        let verb = match self.plan.completes {
            true => "complete",
            false => "rollback",
        };
        let mut args = vec![verb, NAME];
        if accepts {
            args.push("--accept-loss");
        }
        let attacked = self.third.clone().unwrap_or_else(|| left.clone());
        let output = match accepts {
            false => self.under_attack(&attacked, &args).await?,
            true => self.cli(&args).await?,
        };
        self.look().await?;
        let asks = output.code != Some(0) && output.stderr.contains("--accept-loss");
        self.refused += u64::from(asks);
        Ok(asks)
    }

    /// What nothing but a person can decide. Nobody says of a server that it is down, unless he has
    /// stopped it.
    async fn decide(&mut self, status: &Value) -> Result<()> {
        let is_stopped = self.stop_what_was_promoted(status).await?;
        let choices = status["choices"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<_> = choices
            .iter()
            .filter_map(|choice| choice["name"].as_str())
            .collect();
        let honest = names
            .iter()
            .find(|name| !name.contains("-is-down") && **name != "retry");
        let down = names.iter().find(|name| **name == TARGET_IS_DOWN);
        // By proof first.
        let asserted = down.filter(|_| is_stopped && self.decisions > 0);
        let choice = asserted.or(honest).or_else(|| names.first());
        let choice = choice.context("no choice is offered")?;
        self.decisions += 1;
        self.cli(&["resolve", NAME, "--choice", choice]).await?;
        sleep(LOOK_AGAIN).await;
        Ok(())
    }

    /// As `status` asks for: a server that somebody else promoted is stopped. Returns whether the target
    /// is, which applications have not been sent to.
    async fn stop_what_was_promoted(&mut self, status: &Value) -> Result<bool> {
        match self.plan.kind {
            Kind::OtherPromoter => {
                if let Some(third) = &self.third {
                    third.stop().await?;
                }
                Ok(false)
            }
            Kind::TargetPromoter
                if status["direction"] == "forward" && status["step"] != "flip" =>
            {
                self.lab.pair.target.stop().await?;
                Ok(true)
            }
            Kind::TargetPromoter
            | Kind::Walsender
            | Kind::Kept
            | Kind::Opener
            | Kind::ControlRole => Ok(false),
        }
    }
}

const TARGET_IS_DOWN: &str = "open-source-target-is-down";
