//! Two servers in memory, behind the ports that real ones have.

mod control;
mod fence;
mod looks;
mod preparation;
mod promotion;
mod publisher;
mod sessions;
mod subscriber;
mod wal_proof;

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use pointsman_catalog::Server;
use pointsman_cutover::{
    Lsn,
    machine::Side,
    ports::{
        ControlId, ControlledServer, DatabaseProvider, FenceRecord, HostSeen, Inspector,
        Observation, ProbeError, ProbeSessions, ProviderError, ReadOnlyDefault, Recorder, Roles,
        Tried, WriteAttempt,
    },
};

use crate::{
    bystander::BYSTANDER,
    network::{To, failed},
    server::CONTROL,
    world::{Shared, World},
};

use control::Control;

/// Reaches `blue` and `green`.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedProvider {
    pub(crate) shared: Shared,
}

fn side_of(server: &Server) -> Side {
    match server.name.as_str() {
        "green" => Side::Target,
        _ => Side::Source,
    }
}

/// What the control role meets at the door of `postgres`.
fn let_in(world: &World, side: Side) -> Result<(), ProviderError> {
    let server = world.server(side);
    server
        .admits(CONTROL, "postgres", false)
        .map_err(|refused| {
            let (code, words) = refused.words("postgres");
            failed(
                &server.name,
                "connecting to postgres",
                format!("{words} ({code})"),
            )
        })
}

impl SimulatedProvider {
    /// A read-only session of its own, which ends at once.
    async fn passing<T: Send + 'static>(
        &self,
        server: &Server,
        what: &'static str,
        look: impl FnOnce(&mut World, Side) -> T + Send + 'static,
    ) -> Result<T, ProviderError> {
        let side = side_of(server);
        let to = To { side, pid: None };
        let look = move |world: &mut World| {
            let_in(world, side)?;
            Ok(look(world, side))
        };
        self.shared.ask(to, what, look).await
    }
}

#[async_trait]
impl DatabaseProvider for SimulatedProvider {
    fn reaches(&self, _server: &Server) -> bool {
        true
    }

    async fn attach(
        &self,
        server: &Server,
        control: &ControlId,
    ) -> Result<ControlledServer, ProviderError> {
        let control = Control::attach(&self.shared, server, control.clone()).await?;
        let control = Arc::new(control);
        Ok(ControlledServer::new(
            server.name.clone(),
            Roles {
                observe: control.clone(),
                sessions: Ok(control.clone()),
                fence: Ok(control.clone()),
                replication: Ok(control.clone()),
                guarded_promotion: Ok(control.clone()),
                wal_proof: Ok(control.clone()),
                reverse_publisher: Ok(control.clone()),
                reverse_subscriber: Ok(control.clone()),
                probe_table: Ok(control.clone()),
                preparation: Ok(control),
            },
        ))
    }

    async fn observe(&self, server: &Server) -> Result<Observation, ProviderError> {
        if server.name.as_str() == BYSTANDER {
            return self.shared.ask_bystander(&server.name).await;
        }
        let look = |world: &mut World, side| world.server(side).observe(world.wall());
        self.passing(server, "look at it", look).await
    }

    async fn flush(&self, server: &Server) -> Result<Lsn, ProviderError> {
        let what = "flush its WAL";
        let written = |world: &mut World, side| world.server_mut(side).commit_own(Vec::new());
        let written = self.passing(server, what, written).await?;
        let end = written.map(|(_, end)| end);
        end.map_err(|reason| failed(&server.name, what, reason))
    }

    async fn inspect(&self, server: &Server) -> Result<Box<dyn Inspector>, ProviderError> {
        self.passing(server, "open a session for checks", |_, _| ())
            .await?;
        Ok(Box::new(NoChecks))
    }

    async fn fence_record(&self, server: &Server) -> Result<Option<FenceRecord>, ProviderError> {
        let look = |world: &mut World, side| {
            let fences = world.server(side).tables.fences();
            fences.first().map(|fenced| fenced.record.clone())
        };
        self.passing(server, "read its fence record", look).await
    }

    fn probes(&self) -> &dyn ProbeSessions {
        self
    }

    fn recording(&self, _recorder: Recorder) -> Arc<dyn DatabaseProvider> {
        Arc::new(self.clone())
    }
}

/// No alarm of a simulation writes.
#[async_trait]
impl ProbeSessions for SimulatedProvider {
    async fn try_write(
        &self,
        _server: &Server,
        _datname: &str,
        _default: ReadOnlyDefault,
    ) -> WriteAttempt {
        WriteAttempt::Unknown {
            reason: "a simulation has no probe".to_owned(),
        }
    }

    fn probe_login(&self, _server: &Server, _datname: &str) -> Result<(), String> {
        Err("a simulation has no probe".to_owned())
    }

    async fn write_row(
        &self,
        _server: &Server,
        _datname: &str,
        _through: SocketAddr,
        _value: i64,
    ) -> Result<(), ProbeError> {
        Err(ProbeError {
            message: "a simulation has no probe".to_owned(),
        })
    }
}

/// The checks of real servers are no part of a simulation.
#[derive(Debug)]
struct NoChecks;

#[async_trait]
impl Inspector for NoChecks {
    async fn rows(
        &self,
        _datname: &str,
        _select: &str,
    ) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, ProviderError> {
        Ok(Vec::new())
    }

    async fn try_out(&self, _datname: &str, _statements: &str) -> Result<Tried, ProviderError> {
        Ok(Tried::Works)
    }

    async fn hosts(&self) -> Result<Vec<HostSeen>, ProviderError> {
        Ok(Vec::new())
    }

    fn hands_over_password(&self) -> bool {
        false
    }

    fn probe_role(&self) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn probe_login(&self, _datname: &str) -> Result<(), String> {
        Ok(())
    }
}
