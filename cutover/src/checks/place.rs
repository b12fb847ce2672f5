use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    CheckContext, Finding,
    check::{Check, Judgement},
};
use crate::ports::Inspector;

/// Where a check reads: a database of one of the two servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    side: &'static str,
    pub(super) server: &'a str,
    inspector: &'a dyn Inspector,
    pub(super) datname: &'a str,
    /// The check is about the server, not about this database.
    whole: bool,
}

impl<'a> Place<'a> {
    pub(super) fn source(ctx: &CheckContext<'a>) -> Self {
        Self {
            side: "source",
            server: ctx.source.name.as_str(),
            inspector: ctx.on_source,
            datname: "postgres",
            whole: true,
        }
    }

    pub(super) fn target(ctx: &CheckContext<'a>) -> Self {
        Self {
            side: "target",
            server: ctx.target.name.as_str(),
            inspector: ctx.on_target,
            datname: "postgres",
            whole: true,
        }
    }

    /// Database `datname` of this server.
    pub(super) fn database(self, datname: &'a str) -> Self {
        Self {
            datname,
            whole: false,
            ..self
        }
    }

    /// How findings name it.
    pub(super) fn location(&self) -> String {
        if self.whole {
            self.side.to_owned()
        } else {
            format!("{}/{}", self.side, self.datname)
        }
    }

    /// The rows of `select`, or why they could not be read.
    pub(super) async fn ask<R: DeserializeOwned>(&self, select: &str) -> Result<Vec<R>, String> {
        let rows = timeout(PATIENCE, self.inspector.rows(self.datname, select))
            .await
            .map_err(|_| {
                let seconds = PATIENCE.as_secs();
                format!("server {} did not answer within {seconds} s", self.server)
            })?
            .map_err(|error| error.to_string())?;
        rows.into_iter()
            .map(|row| serde_json::from_value(Value::Object(row)))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("server {} answered with other rows: {error}", self.server))
    }

    /// The one row of `select`.
    pub(super) async fn ask_one<R: DeserializeOwned>(&self, select: &str) -> Result<R, String> {
        let mut rows = self.ask(select).await?;
        match rows.len() {
            1 => Ok(rows.remove(0)),
            n => Err(format!("server {} answered with {n} rows", self.server)),
        }
    }

    /// Asks, judges and times one check here.
    pub(super) async fn check<R: DeserializeOwned>(
        &self,
        ctx: &CheckContext<'_>,
        check: Check,
        select: &str,
        judge: impl FnOnce(Vec<R>) -> Judgement,
    ) -> Finding {
        let began = Instant::now();
        let judgement = self.ask(select).await.map(judge);
        check.finding(ctx, self.location(), began, judgement)
    }
}

/// Above the sessions' statement timeout, and short enough for a switch that is waiting.
const PATIENCE: Duration = Duration::from_secs(8);
