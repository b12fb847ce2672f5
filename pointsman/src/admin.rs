//! The operator's API over gRPC. Errors become status codes here and nowhere else.

pub(crate) mod access;
mod database;
mod fleet;
mod migration;
mod refusal;
mod usage;

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use pointsman_catalog::{Catalog, DatabaseName, ServerName};
use pointsman_cutover::{Engine, machine::Direction, ports::Providers};
use pointsman_proto::v1::{self, admin_server};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{evidence::SessionCensus, fleet::Publisher, flip::Flip};
use refusal::{invalid, refuse};

/// Answers operators.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) census: Arc<SessionCensus>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) providers: Providers,
    pub(crate) flip: Flip,
    /// Where sidecars reach the control plane.
    pub(crate) xds: String,
    /// The name of its certificate there; empty on plain text.
    pub(crate) xds_identity: String,
    /// Ends the streams, which would outlive every graceful stop otherwise.
    pub(crate) stop: CancellationToken,
}

type Answer<T> = Result<Response<T>, Status>;
type Following<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl admin_server::Admin for Admin {
    type WatchFleetStream = Following<v1::FleetStatusResponse>;
    type WatchMigrationStream = Following<v1::Migration>;

    async fn apply_databases(
        &self,
        request: Request<v1::ApplyDatabasesRequest>,
    ) -> Answer<v1::ApplyDatabasesResponse> {
        let applied = database::apply(self, &request.into_inner()).await?;
        Ok(Response::new(applied))
    }

    async fn list_databases(
        &self,
        request: Request<v1::ListDatabasesRequest>,
    ) -> Answer<v1::ListDatabasesResponse> {
        let name = request.into_inner().name;
        let found = database::list(self, &name).await?;
        Ok(Response::new(found))
    }

    async fn fleet_status(
        &self,
        _request: Request<v1::FleetStatusRequest>,
    ) -> Answer<v1::FleetStatusResponse> {
        Ok(Response::new(fleet::status(&self.publisher, &self.census)))
    }

    async fn watch_fleet(
        &self,
        _request: Request<v1::FleetStatusRequest>,
    ) -> Answer<Self::WatchFleetStream> {
        let changes = fleet::follow(Arc::clone(&self.publisher), Arc::clone(&self.census));
        Ok(Response::new(self.until_stopped(changes)))
    }

    async fn show_node(&self, request: Request<v1::ShowNodeRequest>) -> Answer<v1::NodeRecord> {
        let node = request.into_inner().node;
        Ok(Response::new(fleet::show(
            &self.publisher,
            &self.census,
            &node,
        )?))
    }

    async fn register_node(
        &self,
        request: Request<v1::RegisterNodeRequest>,
    ) -> Answer<v1::RegisterNodeResponse> {
        let outcome = fleet::register(self, &request.into_inner()).await?;
        Ok(Response::new(v1::RegisterNodeResponse {
            outcome,
            xds: self.xds.clone(),
            identity: self.xds_identity.clone(),
        }))
    }

    async fn retire_node(
        &self,
        request: Request<v1::RetireNodeRequest>,
    ) -> Answer<v1::RetireNodeResponse> {
        fleet::retire(self, &request.into_inner().node).await?;
        Ok(Response::new(v1::RetireNodeResponse {}))
    }

    async fn flip(&self, request: Request<v1::FlipRequest>) -> Answer<v1::FlipResponse> {
        let request = request.into_inner();
        let database = DatabaseName::new(request.database).map_err(invalid)?;
        let to = ServerName::new(request.to).map_err(invalid)?;
        let (publication, convergence) = self
            .flip
            .run(&database, &to, request.force)
            .await
            .map_err(refuse)?;
        Ok(Response::new(v1::FlipResponse {
            epoch: publication.epochs.get(&database).map_or(0, |epoch| epoch.0),
            convergence: Some(fleet::convergence(convergence)),
        }))
    }

    async fn create_migration(
        &self,
        request: Request<v1::CreateMigrationRequest>,
    ) -> Answer<v1::Migration> {
        let wanted = migration::wanted(request.into_inner())?;
        let status = self.engine.create(wanted).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn preflight_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::PreflightReport> {
        let name = request.into_inner().name;
        let report = self.engine.preflight(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::report(&report)))
    }

    async fn start_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.engine.start(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn list_migrations(
        &self,
        _request: Request<v1::ListMigrationsRequest>,
    ) -> Answer<v1::ListMigrationsResponse> {
        let list = self.engine.list();
        Ok(Response::new(v1::ListMigrationsResponse {
            migrations: list.iter().map(migration::message).collect(),
        }))
    }

    async fn get_migration(&self, request: Request<v1::MigrationRequest>) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.engine.status(&name).map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn watch_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<Self::WatchMigrationStream> {
        let name = request.into_inner().name;
        let statuses = self.engine.watch(&name).map_err(refuse)?;
        let messages = WatchStream::new(statuses).map(|status| Ok(migration::message(&status)));
        Ok(Response::new(self.until_stopped(messages)))
    }

    async fn switch_migration(&self, request: Request<v1::SwitchRequest>) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.engine.switch(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn rollback_migration(
        &self,
        request: Request<v1::SwitchRequest>,
    ) -> Answer<v1::Migration> {
        let v1::SwitchRequest { name, accept_loss } = request.into_inner();
        let status = self
            .engine
            .rollback(&name, accept_loss)
            .await
            .map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn dry_run(&self, request: Request<v1::DryRunRequest>) -> Answer<v1::DryRunResponse> {
        let v1::DryRunRequest { name, direction } = request.into_inner();
        let direction = match direction.as_str() {
            "forward" => Direction::Forward,
            "reverse" => Direction::Reverse,
            _ => return Err(invalid("direction is forward or reverse")),
        };
        let steps = self
            .engine
            .dry_run(&name, direction)
            .await
            .map_err(refuse)?;
        Ok(Response::new(v1::DryRunResponse { steps }))
    }

    async fn complete_migration(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Answer<v1::Migration> {
        let v1::CompleteRequest {
            name,
            source_is_gone,
        } = request.into_inner();
        let completed = self.engine.complete(&name, source_is_gone).await;
        let status = completed.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn cancel_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.engine.cancel(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn resolve_migration(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Answer<v1::Migration> {
        let v1::ResolveRequest { name, choice } = request.into_inner();
        let status = self.engine.resolve(&name, &choice).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }
}

impl Admin {
    fn until_stopped<T: 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Following<T> {
        Box::pin(stream.take_until(self.stop.clone().cancelled_owned()))
    }
}
