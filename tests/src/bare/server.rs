//! The control sessions to one server, and the single acts of a cutover on it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;

use super::{STEP_DEADLINE, until};
use pointsman_lab::workload::{Login, Session, error_message};

/// One server's control sessions: one to `postgres`, one to each application database.
///
/// They are open before anything is closed, since nobody can connect to a closed database.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    control: Session,
    databases: Vec<Database>,
    pids: Vec<i32>,
}

/// The control session to one application database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) datname: String,
    pub(super) session: Session,
}

/// Sessions that a closed server keeps.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spare {
    /// None but the control sessions.
    Nobody,
    /// Both ends of the reverse stream.
    ReverseStream,
}

impl Server {
    pub(super) async fn open(
        address: SocketAddr,
        superuser: &str,
        datnames: &[String],
    ) -> anyhow::Result<Self> {
        let login = |datname: &str| Login {
            user: superuser.to_owned(),
            password: None,
            tls: None,
            datname: datname.to_owned(),
            application_name: "bare cutover".to_owned(),
        };
        let control = Session::open(address, &login("postgres"), STEP_DEADLINE).await?;
        let mut pids = vec![settle_in(&control).await?];
        let mut databases = Vec::new();
        for datname in datnames {
            let session = Session::open(address, &login(datname), STEP_DEADLINE).await?;
            pids.push(settle_in(&session).await?);
            databases.push(Database {
                datname: datname.clone(),
                session,
            });
        }
        Ok(Self {
            address,
            control,
            databases,
            pids,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// Runs statements on the control session.
    pub(super) async fn run(&self, sql: &str) -> anyhow::Result<()> {
        execute(&self.control, sql).await
    }

    /// Asks the control session for one text.
    pub(super) async fn ask(&self, sql: &str) -> anyhow::Result<String> {
        ask(&self.control, sql).await
    }

    /// Asks the control session a yes-or-no question.
    pub(super) async fn says_yes(&self, sql: &str) -> anyhow::Result<bool> {
        Ok(self.ask(&format!("SELECT ({sql})::text")).await? == "true")
    }

    pub(super) async fn make_ready(&self) -> anyhow::Result<()> {
        self.run("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
            .await?;
        self.run("CREATE TABLE fence (closed text NOT NULL)")
            .await?;
        for database in &self.databases {
            database
                .run("CREATE TABLE probe (id bigint PRIMARY KEY)")
                .await?;
            database
                .run("CREATE PUBLICATION bare_rb FOR ALL TABLES")
                .await?;
        }
        Ok(())
    }

    pub(super) async fn wal_insert_lsn(&self) -> anyhow::Result<String> {
        self.ask("SELECT pg_current_wal_insert_lsn()::text").await
    }

    /// Closes every database to new sessions, in one transaction with the record of what was open.
    pub(super) async fn close(&self) -> anyhow::Result<Vec<String>> {
        let open = self
            .ask("SELECT string_agg(quote_ident(datname), ',') FROM pg_database WHERE datallowconn AND datname <> 'postgres'")
            .await?;
        let names: Vec<String> = open.split(',').map(str::to_owned).collect();
        let shut = names
            .iter()
            .map(|name| format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false;"));
        let shut: String = shut.collect();
        self.run(&format!(
            "BEGIN; INSERT INTO fence VALUES ('{open}'); {shut} ALTER DATABASE postgres CONNECTION LIMIT 0; COMMIT"
        ))
        .await?;
        Ok(names)
    }

    /// Waits out sessions that passed the check before the closing and are not listed yet: the statement changes
    /// nothing, but takes the lock that a starting session holds.
    pub(super) async fn barrier(&self, closed: &[String]) -> anyhow::Result<()> {
        for name in closed {
            self.run(&format!("ALTER DATABASE {name} SET TABLESPACE pg_default"))
                .await?;
        }
        Ok(())
    }

    /// Ends all sessions but those to spare, and waits until none is left.
    pub(super) async fn end_sessions(&self, spare: Spare) -> anyhow::Result<()> {
        let others = self.others(spare);
        self.run(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"
        ))
        .await?;
        let none_left = format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE {others})");
        until("no session left", STEP_DEADLINE, async || {
            self.says_yes(&none_left).await
        })
        .await?;
        let prepared = self
            .ask("SELECT count(*)::text FROM pg_prepared_xacts")
            .await?;
        ensure!(
            prepared == "0",
            "{prepared} prepared transactions on {}",
            self.address
        );
        Ok(())
    }

    /// Writes a marker into WAL; its LSN is behind every commit made before.
    pub(super) async fn marker(&self) -> anyhow::Result<String> {
        self.ask("SELECT pg_logical_emit_message(true, 'bare.fence', 'marker')::text")
            .await
    }

    /// Opens every database in one transaction.
    pub(super) async fn open_databases(&self, closed: &[String]) -> anyhow::Result<()> {
        let open = closed.iter().map(|name| {
            format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true CONNECTION LIMIT -1;")
        });
        let open: String = open.collect();
        self.run(&format!(
            "BEGIN; {open} ALTER DATABASE postgres CONNECTION LIMIT -1; COMMIT"
        ))
        .await
    }

    /// Writes a row into each database.
    pub(super) async fn probe(&self, id: i64) -> anyhow::Result<()> {
        let sql = format!("INSERT INTO probe VALUES ({id})");
        try_join_all(self.databases.iter().map(|database| database.run(&sql))).await?;
        Ok(())
    }

    /// Proves from WAL that nobody has committed a change to a user's relation since `from`.
    pub(super) async fn no_user_commit_since(&self, from: &str) -> anyhow::Result<()> {
        let flushed = self.ask("SELECT pg_current_wal_flush_lsn()::text").await?;
        if !self
            .says_yes(&format!("SELECT '{from}'::pg_lsn < '{flushed}'::pg_lsn"))
            .await?
        {
            return Ok(());
        }
        let commits = self
            .ask(&USER_COMMITS.replace("$from", from).replace("$to", &flushed))
            .await?;
        ensure!(
            commits == "0",
            "{commits} user commits on {} since {from}",
            self.address
        );
        Ok(())
    }

    pub(super) async fn until_replayed(&self, lsn: &str, deadline: Duration) -> anyhow::Result<()> {
        let replayed =
            format!("SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn");
        until("replay of the marker", deadline, async || {
            self.says_yes(&replayed).await
        })
        .await
    }

    pub(super) async fn until_confirmed(
        &self,
        lsn: &str,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let confirmed = format!(
            "SELECT count(*) = {} FROM pg_replication_slots WHERE slot_name LIKE 'bare_rb_%' AND active AND confirmed_flush_lsn >= '{lsn}'::pg_lsn",
            self.databases.len()
        );
        until("the reverse slots' confirmation", deadline, async || {
            self.says_yes(&confirmed).await
        })
        .await
    }

    /// The condition for sessions that must go. Backends of every type count, if they belong to a database.
    fn others(&self, spare: Spare) -> String {
        let pids: Vec<String> = self.pids.iter().map(ToString::to_string).collect();
        let spared = match spare {
            Spare::Nobody => "false",
            Spare::ReverseStream => {
                "backend_type = 'logical replication worker' OR pid IN \
                 (SELECT active_pid FROM pg_replication_slots WHERE active AND slot_name LIKE 'bare_rb_%')"
            }
        };
        format!(
            "datname IS NOT NULL AND backend_type <> 'autovacuum worker' AND pid NOT IN ({}) AND NOT ({spared})",
            pids.join(",")
        )
    }
}

impl Database {
    pub(super) async fn run(&self, sql: &str) -> anyhow::Result<()> {
        execute(&self.session, sql).await
    }

    pub(super) async fn ask(&self, sql: &str) -> anyhow::Result<String> {
        ask(&self.session, sql).await
    }

    /// The slot of the way back in this database.
    pub(super) fn slot(&self) -> String {
        format!("bare_rb_{}", self.datname)
    }
}

async fn settle_in(session: &Session) -> anyhow::Result<i32> {
    execute(session, "SET synchronous_commit = local").await?;
    Ok(ask(session, "SELECT pg_backend_pid()::text")
        .await?
        .parse()?)
}

async fn execute(session: &Session, sql: &str) -> anyhow::Result<()> {
    let done = session.client().batch_execute(sql).await;
    done.map_err(|error| anyhow::anyhow!("{}: {sql}", error_message(&error)))
}

async fn ask(session: &Session, sql: &str) -> anyhow::Result<String> {
    let answer = session.client().query_typed(sql, &[]).await;
    let rows = answer.map_err(|error| anyhow::anyhow!("{}: {sql}", error_message(&error)))?;
    let row = rows.first().with_context(|| format!("no row: {sql}"))?;
    let text: Option<String> = row.try_get(0)?;
    Ok(text.unwrap_or_default())
}

/// Commits of transactions that changed a relation which is not a catalogue's: maintenance commits too, on its own.
const USER_COMMITS: &str = r"
WITH records AS MATERIALIZED (
  SELECT xid, resource_manager AS rmgr, record_type AS type,
         substring(block_ref from 'rel [0-9]+/[0-9]+/([0-9]+)')::bigint AS filenode
    FROM pg_get_wal_records_info('$from', '$to'))
SELECT count(*)::text FROM records AS commit
 WHERE rmgr = 'Transaction' AND type LIKE 'COMMIT%'
   AND EXISTS (SELECT FROM records AS change
                WHERE change.xid = commit.xid
                  AND (rmgr = 'Sequence' OR rmgr IN ('Heap', 'Heap2')
                       AND type ~ '^(INSERT|MULTI_INSERT|UPDATE|HOT_UPDATE|DELETE|TRUNCATE)')
                  AND coalesce(filenode, 16384) >= 16384)";
