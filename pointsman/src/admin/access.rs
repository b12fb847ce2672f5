//! Which caller may call which method. Commands and refused requests are logged with the
//! caller's name.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures_util::future::Either;
use pointsman_proto::READ_ONLY_METHODS;
use pointsman_xds::Peer;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};
use tracing::{info, warn};

use crate::spiffe::AdminRole;

/// How the admin listener identifies its callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// Not at all: plain text. Everybody who reaches the listener is an operator.
    Open,
    /// By the SPIFFE ID in their certificate.
    ByCertificate,
}

/// A service behind the check of its callers' roles.
#[derive(Clone, Debug)]
pub(crate) struct Guarded<S> {
    inner: S,
    access: Access,
}

impl<S> Guarded<S> {
    pub(crate) const fn new(inner: S, access: Access) -> Self {
        Self { inner, access }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Self::Response, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        match judge(self.access, request.extensions().get(), method) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

/// Whether `peer` may call `method`.
fn judge(access: Access, peer: Option<&Peer>, method: &str) -> Result<(), Status> {
    let needed = needed(method);
    let identity = match access {
        Access::Open => {
            if needed == AdminRole::Operator {
                info!(method, "asked for over plain text");
            }
            return Ok(());
        }
        Access::ByCertificate => peer.and_then(|peer| peer.identity.as_ref()),
    };
    let Some(identity) = identity else {
        // The TLS listener requires a client certificate.
        return Err(Status::unauthenticated("the connection has no certificate"));
    };
    let role = AdminRole::of(identity);
    if role >= Some(needed) {
        if needed == AdminRole::Operator {
            info!(%identity, method, "asked for");
        }
        return Ok(());
    }
    let has = role.map_or("no role", AdminRole::label);
    warn!(%identity, method, role = has, "refused");
    Err(Status::permission_denied(format!(
        "{identity} ({has}) may not ask for {method}, which needs the role {}: use a certificate \
         whose SPIFFE ID is spiffe://<trust domain>/pointsman/{}/<name>",
        needed.label(),
        needed.label(),
    )))
}

/// The least role that may call `method`.
fn needed(method: &str) -> AdminRole {
    if READ_ONLY_METHODS.contains(&method) || STATUS.contains(&method) {
        AdminRole::Viewer
    } else {
        AdminRole::Operator
    }
}

/// Methods of the client status discovery service, which only reads.
const STATUS: [&str; 2] = ["FetchClientStatus", "StreamClientStatus"];

#[cfg(test)]
mod tests {
    use pointsman_xds::Identity;
    use tonic::Code;

    use super::*;

    fn peer(path: &str) -> Peer {
        Peer {
            address: "192.0.2.1:1".parse().unwrap(),
            identity: Some(Identity::new(&format!("spiffe://example.org{path}")).unwrap()),
        }
    }

    fn by_certificate(peer: &Peer, method: &str) -> Result<(), Code> {
        judge(Access::ByCertificate, Some(peer), method).map_err(|status| status.code())
    }

    #[test]
    fn a_viewer_reads_and_commands_nothing() {
        let bob = peer("/pointsman/viewer/bob");
        for method in READ_ONLY_METHODS.iter().copied().chain(STATUS) {
            assert_eq!(by_certificate(&bob, method), Ok(()), "{method}");
        }
        for method in COMMANDING.into_iter().chain(["Anything"]) {
            assert_eq!(
                by_certificate(&bob, method),
                Err(Code::PermissionDenied),
                "{method}"
            );
        }
    }

    /// Written down a second time, so that an option in the wrong place lets none of them through.
    const COMMANDING: [&str; 15] = [
        "AbandonMigration",
        "AddGroup",
        "ApplyDatabases",
        "CancelMigration",
        "CompleteMigration",
        "CreateMigration",
        "Flip",
        "PreflightMigration",
        "RegisterNode",
        "RemoveGroup",
        "ResolveMigration",
        "RetireNode",
        "RollbackMigration",
        "StartMigration",
        "SwitchMigration",
    ];

    /// A method that is renamed is renamed in the list, too.
    #[test]
    fn every_commanding_method_is_one_of_the_service() {
        let service = include_str!("../../../proto/pointsman/admin/v1/admin.proto");
        for method in COMMANDING {
            assert!(service.contains(&format!("rpc {method}(")), "{method}");
        }
    }

    #[test]
    fn an_operator_commands() {
        let ann = peer("/pointsman/operator/ann");
        for method in ["Flip", "FleetStatus"] {
            assert_eq!(by_certificate(&ann, method), Ok(()), "{method}");
        }
    }

    #[test]
    fn a_certificate_without_a_role_reads_nothing() {
        let app = peer("/pointsman/sidecar/app-1");
        assert_eq!(
            by_certificate(&app, "FleetStatus"),
            Err(Code::PermissionDenied)
        );
        let nobody = judge(Access::ByCertificate, None, "FleetStatus");
        assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
    }

    #[test]
    fn a_refusal_names_who_asked_what_they_are_and_what_is_needed() {
        let bob = peer("/pointsman/viewer/bob");
        let status = judge(Access::ByCertificate, Some(&bob), "Flip").unwrap_err();
        for part in ["viewer/bob (viewer)", "Flip", "needs the role operator"] {
            assert!(status.message().contains(part), "{status}");
        }
    }

    #[test]
    fn on_plain_text_whoever_reaches_the_listener_commands() {
        assert!(judge(Access::Open, None, "Flip").is_ok());
    }
}
