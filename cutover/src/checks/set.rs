use std::sync::Arc;

use futures_util::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream,
};

use super::{
    Check, CheckContext, CheckSpec, Finding, Report, fleet_membership::FleetMembership,
    fleet_target_reachable::TargetReachable, journal_room::JournalRoom,
    readers_after_the_switch::ReaderEndpoints, refusals_while_promoting::RefusalsWhilePromoting,
};

/// The checks of a control plane, in the order of reports.
#[derive(Clone, Debug)]
pub struct CheckSet {
    checks: Arc<[&'static dyn Check]>,
}

impl CheckSet {
    /// The checks that need no server, and those of the providers in use.
    pub fn new(of_providers: &[&'static dyn Check]) -> Self {
        let mut checks: Vec<_> = WITHOUT_SERVER.iter().chain(of_providers).copied().collect();
        checks.sort_by_key(|check| check.spec().rank());
        Self {
            checks: checks.into(),
        }
    }

    /// Runs every check. Findings come in the order of the checks; of one check those about
    /// whole servers come before those about databases.
    pub async fn run(&self, ctx: &CheckContext<'_>) -> Report {
        let once = join_all(self.checks.iter().map(|check| check.once(ctx)));
        let (once, databases) = futures_util::join!(once, self.in_databases(ctx));
        let mut findings: Vec<_> = once.into_iter().chain(databases).flatten().collect();
        findings.sort_by_key(|finding| self.position(finding));
        Report {
            at: ctx.clock.now(),
            moment: ctx.moment,
            findings,
        }
    }

    /// What the checks are; a check that is spread over several places may come twice.
    pub fn specs(&self) -> impl Iterator<Item = CheckSpec> {
        self.checks.iter().map(|check| check.spec())
    }

    /// In each database one check after the other, on the one session there.
    async fn in_databases(&self, ctx: &CheckContext<'_>) -> Vec<Vec<Finding>> {
        // Boxed, so that the whole future is `Send` for every lifetime.
        let moving = ctx
            .moving()
            .into_iter()
            .map(|datname| Box::pin(self.in_database(ctx, datname)) as BoxFuture<'_, Vec<Finding>>);
        let closed = ctx.staying_closed().into_iter().map(|datname| {
            Box::pin(self.in_closed_database(ctx, datname)) as BoxFuture<'_, Vec<Finding>>
        });
        let databases: Vec<_> = moving.chain(closed).collect();
        let findings = stream::iter(databases).buffered(DATABASES_AT_ONCE);
        findings.collect().await
    }

    async fn in_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for check in &*self.checks {
            findings.extend(check.in_database(ctx, datname).await);
        }
        findings
    }

    async fn in_closed_database(&self, ctx: &CheckContext<'_>, datname: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        for check in &*self.checks {
            findings.extend(check.in_closed_database(ctx, datname).await);
        }
        findings
    }

    fn position(&self, finding: &Finding) -> Option<usize> {
        self.specs().position(|spec| spec.id == finding.id)
    }
}

const WITHOUT_SERVER: &[&dyn Check] = &[
    &FleetMembership,
    &TargetReachable,
    &JournalRoom,
    &RefusalsWhilePromoting,
    &ReaderEndpoints,
];

/// Sessions are one per database and server; more at once would load the source.
const DATABASES_AT_ONCE: usize = 4;
