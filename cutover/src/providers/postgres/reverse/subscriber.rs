//! A closed former primary as the subscriber of its successor.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::{
    server::SqlServer,
    statements::{SUBSCRIPTION, create_subscription, identifier, limit_databases},
};
use crate::ports::{Armed, ControlledServer as _, ProviderError, SubscriptionSpec};

impl SqlServer {
    /// NOLOGIN comes first: the limit that follows does not stop superusers, whose
    /// handshakes may have begun before.
    pub(in super::super) async fn arm_as_subscriber(
        &self,
        subscriptions: &[SubscriptionSpec],
    ) -> Result<Armed, ProviderError> {
        let datnames: Vec<_> = subscriptions
            .iter()
            .map(|subscription| subscription.datname.clone())
            .collect();
        let armed = self.take_logins().await?;
        self.wait_out_starting_backends().await?;
        self.postgres
            .transaction("open it for the apply workers", &limit_databases(&datnames))
            .await?;
        self.end_all_sessions(&[], &[APPLY_WORKER], END_SESSIONS)
            .await?;
        self.open_databases(&datnames).await?;
        for subscription in subscriptions {
            self.subscribe(subscription).await?;
        }
        Ok(armed)
    }

    async fn take_logins(&self) -> Result<Armed, ProviderError> {
        let what = "keep other superusers out";
        let rows = self
            .postgres
            .rows(
                what,
                "SELECT rolname::text FROM pg_roles \
                 WHERE rolsuper AND rolcanlogin AND rolname <> current_user ORDER BY 1",
                &[],
            )
            .await?;
        let roles: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        self.alter_roles(what, &roles, "NOLOGIN").await?;
        Ok(Armed {
            nologin_roles: roles,
        })
    }

    pub(in super::super) async fn give_logins_back(
        &self,
        armed: &Armed,
    ) -> Result<(), ProviderError> {
        self.alter_roles("give logins back", &armed.nologin_roles, "LOGIN")
            .await
    }

    async fn alter_roles(
        &self,
        what: &str,
        roles: &[String],
        change: &str,
    ) -> Result<(), ProviderError> {
        if roles.is_empty() {
            return Ok(());
        }
        let statements: Vec<_> = roles
            .iter()
            .map(|role| format!("ALTER ROLE {} {change}", identifier(role)))
            .collect();
        self.postgres.transaction(what, &statements).await?;
        Ok(())
    }

    async fn subscribe(&self, subscription: &SubscriptionSpec) -> Result<(), ProviderError> {
        let session = self.database(&subscription.datname)?;
        let sql = if self.has_subscription(&subscription.datname).await? {
            format!("ALTER SUBSCRIPTION {SUBSCRIPTION} ENABLE")
        } else {
            let conninfo = format!(
                "{} dbname='{}' application_name={}",
                publisher(&subscription.publisher),
                subscription
                    .datname
                    .replace('\\', "\\\\")
                    .replace('\'', "\\'"),
                subscription.slot
            );
            create_subscription(&conninfo, &subscription.slot)
        };
        session.batch("subscribe to its successor", &sql).await?;
        Ok(())
    }

    async fn has_subscription(&self, datname: &str) -> Result<bool, ProviderError> {
        let row = self
            .postgres
            .row(
                "look for the subscription",
                "SELECT EXISTS (SELECT FROM pg_subscription s \
                   JOIN pg_database d ON d.oid = s.subdbid \
                   WHERE s.subname = $1 AND d.datname = $2)",
                &[&SUBSCRIPTION, &datname],
            )
            .await?;
        Ok(row.get(0))
    }

    pub(in super::super) async fn count_apply_errors(&self) -> Result<u64, ProviderError> {
        let row = self
            .postgres
            .row(
                "read the apply workers' errors",
                "SELECT coalesce(sum(apply_error_count), 0)::bigint \
                 FROM pg_stat_subscription_stats WHERE subname = $1",
                &[&SUBSCRIPTION],
            )
            .await?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or_default())
    }

    pub(in super::super) async fn stop_apply_workers(
        &self,
        datnames: &[String],
    ) -> Result<(), ProviderError> {
        for datname in datnames {
            if self.has_subscription(datname).await? {
                let sql = format!("ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE");
                let session = self.database(datname)?;
                session.batch("stop the reverse stream", &sql).await?;
            }
        }
        // A disabled subscription's worker would end by itself within a second; what it had
        // to apply is applied, so it is ended at once.
        let deadline = Instant::now() + STOP;
        let mut signalled = Vec::new();
        loop {
            let rows = self
                .postgres
                .rows(
                    "end the apply workers",
                    END_WORKERS,
                    &[&SUBSCRIPTION, &signalled],
                )
                .await?;
            if rows.is_empty() {
                return Ok(());
            }
            signalled.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
            if Instant::now() >= deadline {
                let found = "they are running".to_owned();
                return Err(self.timed_out("the end of the apply workers", STOP, found));
            }
            sleep(POLL).await;
        }
    }

    /// The slot stays on the publisher; it is dropped there.
    pub(in super::super) async fn forget_subscriptions(
        &self,
        datnames: &[String],
    ) -> Result<(), ProviderError> {
        for datname in datnames {
            if self.has_subscription(datname).await? {
                let session = self.database(datname)?;
                let what = "drop the subscription";
                for change in ["DISABLE", "SET (slot_name = NONE)"] {
                    let sql = format!("ALTER SUBSCRIPTION {SUBSCRIPTION} {change}");
                    session.batch(what, &sql).await?;
                }
                let sql = format!("DROP SUBSCRIPTION {SUBSCRIPTION}");
                session.batch(what, &sql).await?;
            }
        }
        Ok(())
    }
}

/// The publisher's string without what each subscription sets for itself.
fn publisher(conninfo: &str) -> String {
    let own = |pair: &&str| {
        !pair.starts_with("dbname=")
            && !pair.starts_with("application_name=")
            && !pair.starts_with("options=")
    };
    let pairs: Vec<_> = conninfo.split_whitespace().filter(own).collect();
    pairs.join(" ")
}

const END_WORKERS: &str = "SELECT pid, \
       CASE WHEN pid <> ALL ($2) THEN pg_terminate_backend(pid) END \
     FROM pg_stat_subscription WHERE subname = $1 AND pid IS NOT NULL";

/// What `pg_stat_activity` calls the reverse stream's own workers.
const APPLY_WORKER: &str = "logical replication worker";
const END_SESSIONS: Duration = Duration::from_secs(5);
const STOP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
