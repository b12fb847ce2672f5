use std::time::Duration;

use pointsman_catalog::Server;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    checks::{CheckContext, CheckSpec, Finding, Judgement},
    ports::{Clock, HostSeen, Inspector, Monotonic, Tried},
};

/// Where a check reads: one of the two servers, or a database there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    ctx: &'a CheckContext<'a>,
    side: &'static str,
    pub(super) server: &'a Server,
    inspector: &'a dyn Inspector,
    /// `None`: the server as a whole, by its database `postgres`.
    datname: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(super) fn source(ctx: &'a CheckContext<'a>) -> Self {
        Self {
            ctx,
            side: "source",
            server: ctx.source,
            inspector: ctx.on_source,
            datname: None,
        }
    }

    pub(super) fn target(ctx: &'a CheckContext<'a>) -> Self {
        Self {
            side: "target",
            server: ctx.target,
            inspector: ctx.on_target,
            ..Self::source(ctx)
        }
    }

    /// Database `datname` of this server.
    pub(super) fn database(self, datname: &'a str) -> Self {
        Self {
            datname: Some(datname),
            ..self
        }
    }

    /// The server's name in the catalogue.
    pub(super) fn name(&self) -> &'a str {
        self.server.name.as_str()
    }

    pub(super) fn clock(&self) -> &'a dyn Clock {
        self.ctx.clock
    }

    /// Asks, judges and times one check here.
    pub(super) async fn check<R: DeserializeOwned>(
        &self,
        spec: CheckSpec,
        select: &str,
        judge: impl FnOnce(&[R]) -> Judgement,
    ) -> Finding {
        let began = self.clock().monotonic();
        let rows = self.ask(select).await;
        self.finding(spec, began, rows.map(|rows| judge(&rows)))
    }

    /// The finding about this place.
    pub(super) fn finding(
        &self,
        spec: CheckSpec,
        began: Monotonic,
        judgement: Result<Judgement, String>,
    ) -> Finding {
        let location = match self.datname {
            Some(datname) => format!("{}/{datname}", self.side),
            None => self.side.to_owned(),
        };
        spec.finding(self.ctx, location, began, judgement)
    }

    /// The rows of `select`, or why they could not be read.
    pub(super) async fn ask<R: DeserializeOwned>(&self, select: &str) -> Result<Vec<R>, String> {
        let name = self.name();
        let datname = self.datname.unwrap_or("postgres");
        let rows = self.inspector.rows(datname, select);
        let rows = self.clock().timeout(PATIENCE, rows);
        let rows = rows
            .await
            .map_err(|_elapsed| format!("server {name} did not answer within {PATIENCE:?}"))?
            .map_err(|error| error.to_string())?;
        rows.into_iter()
            .map(|row| serde_json::from_value(Value::Object(row)))
            .collect::<Result<_, _>>()
            .map_err(|error| format!("server {name} answered with other rows: {error}"))
    }

    /// What the hosts of its connection strings lead to.
    pub(super) async fn hosts(&self) -> Result<Vec<HostSeen>, String> {
        let name = self.name();
        let seen = self.clock().timeout(PATIENCE, self.inspector.hosts());
        seen.await
            .map_err(|_elapsed| format!("server {name} did not answer within {PATIENCE:?}"))?
            .map_err(|error| error.to_string())
    }

    /// What the server makes of `statements`, which are rolled back.
    pub(super) async fn tried(&self, statements: &str) -> Result<Tried, String> {
        let name = self.name();
        let datname = self.datname.unwrap_or("postgres");
        let tried = self.inspector.try_out(datname, statements);
        let tried = self.clock().timeout(PATIENCE, tried);
        tried
            .await
            .map_err(|_elapsed| format!("server {name} did not answer within {PATIENCE:?}"))?
            .map_err(|error| error.to_string())
    }

    /// Why the server would not run `statements` for want of a right, in its own words; the
    /// error is why that could not be found out.
    pub(super) async fn refusal(&self, statements: &str) -> Result<Option<String>, String> {
        match self.tried(statements).await? {
            Tried::Works => Ok(None),
            Tried::Refused { sqlstate, message } if sqlstate == INSUFFICIENT_PRIVILEGE => {
                Ok(Some(message))
            }
            Tried::Refused { sqlstate, message } => Err(format!("{message} ({sqlstate})")),
        }
    }

    /// The one row of `select`.
    pub(super) async fn ask_one<R: DeserializeOwned>(&self, select: &str) -> Result<R, String> {
        let mut rows = self.ask(select).await?;
        match rows.len() {
            1 => Ok(rows.remove(0)),
            n => Err(format!("server {} answered with {n} rows", self.name())),
        }
    }
}

/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
pub(super) const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// Above the sessions' statement timeout, and short enough for a switch that is waiting.
const PATIENCE: Duration = Duration::from_secs(8);

/// Rows as a server gives them, for tests.
#[cfg(test)]
pub(super) fn rows<R: DeserializeOwned>(rows: Value) -> Vec<R> {
    serde_json::from_value(rows).unwrap()
}
