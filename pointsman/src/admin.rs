//! The operator's API over gRPC. Errors become status codes here and nowhere else.

pub(crate) mod access;
mod context;
mod database;
mod fleet;
mod grpc_status;
mod migration;
mod usage;
mod watch;

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use pointsman_catalog::{DatabaseName, ServerName};
use pointsman_cutover::machine::Direction;
use pointsman_proto::v1::{self, admin_server};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

pub(crate) use context::AdminContext;
use grpc_status::{invalid, refuse};

/// Answers operators.
#[derive(Debug)]
pub(crate) struct AdminService {
    context: Arc<AdminContext>,
}

type Answer<T> = Result<Response<T>, Status>;
type Following<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl admin_server::Admin for AdminService {
    type WatchFleetStream = Following<v1::FleetStatusResponse>;
    type WatchMigrationStream = Following<v1::Migration>;

    async fn apply_databases(
        &self,
        request: Request<v1::ApplyDatabasesRequest>,
    ) -> Answer<v1::ApplyDatabasesResponse> {
        let applied = database::apply(&self.context, &request.into_inner()).await?;
        Ok(Response::new(applied))
    }

    async fn list_databases(
        &self,
        request: Request<v1::ListDatabasesRequest>,
    ) -> Answer<v1::ListDatabasesResponse> {
        let name = request.into_inner().name;
        let found = database::list(&self.context, &name).await?;
        Ok(Response::new(found))
    }

    async fn fleet_status(
        &self,
        _request: Request<v1::FleetStatusRequest>,
    ) -> Answer<v1::FleetStatusResponse> {
        Ok(Response::new(fleet::status(&self.context)))
    }

    async fn watch_fleet(
        &self,
        _request: Request<v1::FleetStatusRequest>,
    ) -> Answer<Self::WatchFleetStream> {
        let changes = fleet::follow(Arc::clone(&self.context));
        Ok(Response::new(self.until_stopped(changes)))
    }

    async fn show_node(&self, request: Request<v1::ShowNodeRequest>) -> Answer<v1::NodeRecord> {
        let node = request.into_inner().node;
        Ok(Response::new(fleet::show(&self.context, &node)?))
    }

    async fn register_node(
        &self,
        request: Request<v1::RegisterNodeRequest>,
    ) -> Answer<v1::RegisterNodeResponse> {
        let outcome = fleet::register(&self.context, &request.into_inner()).await?;
        Ok(Response::new(v1::RegisterNodeResponse { outcome }))
    }

    async fn describe_control_plane(
        &self,
        _request: Request<v1::DescribeControlPlaneRequest>,
    ) -> Answer<v1::DescribeControlPlaneResponse> {
        Ok(Response::new(v1::DescribeControlPlaneResponse {
            xds: self.context.xds.clone(),
            identity: self.context.xds_identity.clone(),
        }))
    }

    async fn add_group(
        &self,
        request: Request<v1::AddGroupRequest>,
    ) -> Answer<v1::AddGroupResponse> {
        let added = fleet::group::add(&self.context, request.into_inner()).await?;
        Ok(Response::new(added))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Answer<v1::ListGroupsResponse> {
        let name = request.into_inner().name;
        Ok(Response::new(
            fleet::group::list(&self.context, &name).await?,
        ))
    }

    async fn remove_group(
        &self,
        request: Request<v1::RemoveGroupRequest>,
    ) -> Answer<v1::RemoveGroupResponse> {
        let name = request.into_inner().name;
        Ok(Response::new(
            fleet::group::remove(&self.context, &name).await?,
        ))
    }

    async fn retire_node(
        &self,
        request: Request<v1::RetireNodeRequest>,
    ) -> Answer<v1::RetireNodeResponse> {
        fleet::retire(&self.context, &request.into_inner().node).await?;
        Ok(Response::new(v1::RetireNodeResponse {}))
    }

    async fn flip(&self, request: Request<v1::FlipRequest>) -> Answer<v1::FlipResponse> {
        let request = request.into_inner();
        let database = DatabaseName::new(request.database).map_err(invalid)?;
        let flip = &self.context.flip;
        let flipped = if request.readers.is_empty() {
            let to = ServerName::new(request.to).map_err(invalid)?;
            flip.run(&database, &to, request.force).await
        } else if request.to.is_empty() {
            let readers = request.readers.into_iter().map(ServerName::new);
            let readers = readers.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
            flip.readers(&database, &readers, request.force).await
        } else {
            return Err(invalid("name the writer or the readers, not both"));
        };
        let (publication, convergence) = flipped.map_err(refuse)?;
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
        let status = self.context.engine.create(wanted).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn preflight_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::PreflightReport> {
        let name = request.into_inner().name;
        let report = self.context.engine.preflight(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::report(&report)))
    }

    async fn start_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.context.engine.start(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn list_migrations(
        &self,
        _request: Request<v1::ListMigrationsRequest>,
    ) -> Answer<v1::ListMigrationsResponse> {
        let engine = &self.context.engine;
        let mut migrations: Vec<_> = engine.list().iter().map(migration::message).collect();
        let unreadable = engine.unreadable_migrations();
        migrations.extend(
            unreadable
                .into_iter()
                .map(|(name, cause)| migration::unreadable(name, cause)),
        );
        Ok(Response::new(v1::ListMigrationsResponse { migrations }))
    }

    async fn get_migration(&self, request: Request<v1::MigrationRequest>) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.context.engine.status(&name).map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn watch_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<Self::WatchMigrationStream> {
        let name = request.into_inner().name;
        let statuses = self.context.engine.watch(&name).map_err(refuse)?;
        let messages = watch::changes(WatchStream::new(statuses)).map(Ok);
        Ok(Response::new(self.until_stopped(messages)))
    }

    async fn switch_migration(&self, request: Request<v1::SwitchRequest>) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.context.engine.switch(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn rollback_migration(
        &self,
        request: Request<v1::SwitchRequest>,
    ) -> Answer<v1::Migration> {
        let v1::SwitchRequest { name, accept_loss } = request.into_inner();
        let status = self
            .context
            .engine
            .rollback(&name, accept_loss)
            .await
            .map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn withdraw_rollback(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let withdrawn = self.context.engine.withdraw_rollback(&name).await;
        let status = withdrawn.map_err(refuse)?;
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
            .context
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
            accept_loss,
        } = request.into_inner();
        if accept_loss {
            let accepted = self.context.engine.accept_source_writes(&name).await;
            accepted.map_err(refuse)?;
        }
        let completed = self.context.engine.complete(&name, source_is_gone).await;
        let status = completed.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn cancel_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::Migration> {
        let name = request.into_inner().name;
        let status = self.context.engine.cancel(&name).await.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn verify_migration(
        &self,
        request: Request<v1::MigrationRequest>,
    ) -> Answer<v1::Verification> {
        let migration = request.into_inner().name;
        let replayed = self.context.engine.verify(&migration).await;
        let replay = replayed.map_err(refuse)?;
        Ok(Response::new(v1::Verification {
            migration,
            verdict: replay.verdict().to_string(),
            entries: replay.entries,
            events: replay.events,
            unverified: replay.unverified,
            violations: replay.violations.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn abandon_migration(
        &self,
        request: Request<v1::AbandonRequest>,
    ) -> Answer<v1::Migration> {
        let v1::AbandonRequest { name, leave } = request.into_inner();
        let leave = migration::servers(&leave)?;
        let abandoned = self.context.engine.abandon(&name, &leave).await;
        let status = abandoned.map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }

    async fn resolve_migration(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Answer<v1::Migration> {
        let v1::ResolveRequest { name, choice } = request.into_inner();
        let status = self
            .context
            .engine
            .resolve(&name, &choice)
            .await
            .map_err(refuse)?;
        Ok(Response::new(migration::message(&status)))
    }
}

impl AdminService {
    pub(crate) fn new(context: AdminContext) -> Self {
        Self {
            context: Arc::new(context),
        }
    }

    fn until_stopped<T: 'static>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Following<T> {
        Box::pin(stream.take_until(self.context.stop.clone().cancelled_owned()))
    }
}
