use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use super::super::{
    admission::admit,
    client_sessions::{ClientSessions, Workers},
    control_sessions::ControlSessions,
    logins::Logins,
    own_transaction::own_transaction_in_database,
    record,
    session_control::SqlSessions,
    statements::{
        HAND_OVER, SUBSCRIPTION, TAKE_OVER, identifier, reconnect_to_handed_over,
        subscribe_to_handed_over,
    },
};
use crate::ports::{
    Armed, ProviderError, ReverseSubscriber, SequenceValue, SessionControl as _, SubscriptionSpec,
};

/// A closed former primary that applies what its successor sends.
#[derive(Debug)]
pub(in super::super) struct SqlReverseSubscriber {
    pub(in super::super) control: Arc<ControlSessions>,
    pub(in super::super) clients: ClientSessions,
    pub(in super::super) sessions: Arc<SqlSessions>,
}

impl SqlReverseSubscriber {
    /// The roles are kept in the fence record by the transaction that takes their LOGIN: a
    /// second arming would not find them any more.
    async fn take_logins(&self) -> Result<Armed, ProviderError> {
        let what = "keep other roles out";
        let Logins {
            to_take: roles,
            kept: still_admitted,
        } = Logins::of(&self.control.postgres).await?;
        if !roles.is_empty() {
            let mut statements = vec![record::keep_logins(&self.control.server.name, &roles)];
            statements.extend(alter_roles(&roles, "NOLOGIN"));
            self.control.postgres.transaction(what, &statements).await?;
        }
        let mut kept =
            record::kept_logins(&self.control.postgres, &self.control.server.name).await?;
        kept.extend(roles);
        kept.sort_unstable();
        kept.dedup();
        Ok(Armed {
            nologin_roles: kept,
            still_admitted,
        })
    }

    async fn subscribe(&self, subscription: &SubscriptionSpec) -> Result<(), ProviderError> {
        let what = "subscribe to its successor";
        let there = self.has_subscription(&subscription.datname).await?;
        let conninfo = self.control.connector.replication(
            &subscription.publisher,
            &subscription.datname,
            &subscription.slot,
        )?;
        let sql = if there {
            reconnect_to_handed_over()
        } else {
            subscribe_to_handed_over(&subscription.slot)
        };
        // A session of its own: one that is given up half-way ends, and its transaction with it.
        let session = self.control.passing(&subscription.datname).await?;
        session
            .with_secret(what, HAND_OVER, TAKE_OVER, &conninfo, &sql)
            .await?;
        if there {
            let sql = format!("ALTER SUBSCRIPTION {SUBSCRIPTION} ENABLE");
            let session = self.control.database(&subscription.datname)?;
            session.block(what, &own(what, sql)).await?;
        }
        Ok(())
    }

    async fn has_subscription(&self, datname: &str) -> Result<bool, ProviderError> {
        let row = self
            .control
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
}

#[async_trait]
impl ReverseSubscriber for SqlReverseSubscriber {
    /// NOLOGIN comes first: what follows does not stop superusers, whose handshakes may have
    /// begun before.
    async fn arm(&self, subscriptions: &[SubscriptionSpec]) -> Result<Armed, ProviderError> {
        let datnames: Vec<_> = subscriptions
            .iter()
            .map(|subscription| subscription.datname.clone())
            .collect();
        let armed = self.take_logins().await?;
        self.clients.await_starting().await?;
        admit(&self.control, "open it for the apply workers", &datnames).await?;
        self.clients
            .end_all(&[], Workers::Spare, END_SESSIONS)
            .await?;
        self.sessions.open_databases(&datnames).await?;
        try_join_all(subscriptions.iter().map(|one| self.subscribe(one))).await?;
        Ok(armed)
    }

    async fn restore_logins(&self, armed: &Armed) -> Result<(), ProviderError> {
        let what = "give logins back";
        let mut kept =
            record::kept_logins(&self.control.postgres, &self.control.server.name).await?;
        kept.extend(armed.nologin_roles.iter().cloned());
        let rows = self
            .control
            .postgres
            .rows(what, LOGIN_TAKEN, &[&kept])
            .await?;
        let roles: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        if !roles.is_empty() {
            let statements = alter_roles(&roles, "LOGIN");
            self.control.postgres.transaction(what, &statements).await?;
        }
        Ok(())
    }

    async fn disable_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            if self.has_subscription(datname).await? {
                let what = "stop the reverse stream";
                let sql = format!("ALTER SUBSCRIPTION {SUBSCRIPTION} DISABLE");
                let session = self.control.database(datname)?;
                session.block(what, &own(what, sql)).await?;
            }
        }
        // A disabled subscription's worker would end by itself within a second; what it had
        // to apply is applied, so it is ended at once.
        let deadline = Instant::now() + STOP;
        let mut signalled = Vec::new();
        loop {
            let rows = self
                .control
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
            let ended = rows.iter().filter(|row| row.get(1));
            signalled.extend(ended.map(|row| row.get::<_, i32>(0)));
            if Instant::now() >= deadline {
                let found = "they are running".to_owned();
                return Err(self
                    .control
                    .timed_out("the end of the apply workers", STOP, found));
            }
            sleep(POLL).await;
        }
    }

    /// The slot stays on the publisher; it is dropped there.
    async fn drop_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            if self.has_subscription(datname).await? {
                let session = self.control.database(datname)?;
                let what = "drop the subscription";
                for change in ["DISABLE", "SET (slot_name = NONE)"] {
                    let sql = format!("ALTER SUBSCRIPTION {SUBSCRIPTION} {change}");
                    session.block(what, &own(what, sql)).await?;
                }
                let sql = format!("DROP SUBSCRIPTION {SUBSCRIPTION}");
                session.block(what, &own(what, sql)).await?;
            }
        }
        Ok(())
    }

    async fn raise_sequences(&self, datname: &str) -> Result<usize, ProviderError> {
        let what = "set its sequences behind their columns";
        let session = self.control.database(datname)?;
        let mut raised = 0;
        for row in &session.rows(what, RAISE_SEQUENCES, &[]).await? {
            let raise: String = row.get(0);
            raised += session.rows(what, &raise, &[]).await?.len();
        }
        Ok(raised)
    }

    async fn lacking_sequences(
        &self,
        datname: &str,
        sequences: &[SequenceValue],
    ) -> Result<Vec<String>, ProviderError> {
        let names: Vec<&str> = sequences.iter().map(|one| one.name.as_str()).collect();
        let session = self.control.database(datname)?;
        let rows = session
            .rows("look for sequences", LACKING_SEQUENCES, &[&names])
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    async fn set_sequences(
        &self,
        datname: &str,
        values: &[SequenceValue],
    ) -> Result<usize, ProviderError> {
        let names: Vec<&str> = values.iter().map(|value| value.name.as_str()).collect();
        let numbers: Vec<i64> = values.iter().map(|value| value.value).collect();
        let called: Vec<bool> = values.iter().map(|value| value.is_called).collect();
        let session = self.control.database(datname)?;
        let rows = session
            .rows(
                "set its sequences",
                SET_SEQUENCES,
                &[&names, &numbers, &called],
            )
            .await?;
        Ok(rows.len())
    }
}

/// A change in a database, as a transaction of the engine's own.
fn own(what: &str, sql: String) -> [String; 3] {
    let [mark, row] = own_transaction_in_database(what);
    [mark, row, sql]
}

fn alter_roles(roles: &[String], change: &str) -> Vec<String> {
    let alter = |role: &String| format!("ALTER ROLE {} {change}", identifier(role));
    roles.iter().map(alter).collect()
}

/// A role may have been dropped since.
const LOGIN_TAKEN: &str = "SELECT rolname::text FROM pg_roles \
     WHERE rolname = ANY ($1) AND NOT rolcanlogin";

/// One that has no role yet is starting; only a superuser may signal it then, and it is looked at
/// again.
const END_WORKERS: &str = "SELECT s.pid, a.usesysid IS NOT NULL AS signalled, \
       CASE WHEN s.pid <> ALL ($2) AND a.usesysid IS NOT NULL THEN pg_terminate_backend(s.pid) END \
     FROM pg_stat_subscription s LEFT JOIN pg_stat_activity a ON a.pid = s.pid \
     WHERE s.subname = $1 AND s.pid IS NOT NULL";

/// One statement for each sequence that counts upward and belongs to an integer column.
const RAISE_SEQUENCES: &str = "SELECT format('SELECT setval(%L, m) FROM %s AS s, \
         (SELECT max(%I)::bigint AS m FROM %s) AS t \
         WHERE m > s.last_value OR m = s.last_value AND NOT s.is_called', \
       q.seqrelid::regclass, q.seqrelid::regclass, a.attname, d.refobjid::regclass) \
     FROM pg_sequence q \
     JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = q.seqrelid \
       AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
     JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
     WHERE q.seqincrement > 0 AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)";

const LACKING_SEQUENCES: &str = "SELECT name FROM unnest($1::text[]) AS v (name) \
     WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass(name) AND relkind = 'S')";
const SET_SEQUENCES: &str = "WITH own AS MATERIALIZED ( \
       SELECT pg_logical_emit_message(true, 'pointsman.own', '')), \
     noted AS (INSERT INTO pointsman.transactions (what) VALUES ('set its sequences')) \
     SELECT setval(c.oid::regclass, number, called) FROM own, \
       unnest($1::text[], $2::bigint[], $3::bool[]) AS v (name, number, called) \
     JOIN pg_class c ON c.oid = to_regclass(name) AND c.relkind = 'S'";

const END_SESSIONS: Duration = Duration::from_secs(5);
const STOP: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);
