//! A session that writes wherever it is let in.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use pointsman_lab::postgres::{PostgresServer, Session, Walsender};
use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The database that is moved, and the table that adversaries write.
pub(super) const DATNAME: &str = "orders";
/// Each row has its own number.
pub(super) const TABLE: &str = "CREATE TABLE adversary (id bigint PRIMARY KEY, who text NOT NULL); \
                                GRANT SELECT, INSERT ON adversary TO repl";

/// How a session comes in.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A replication session that sends SQL (S1, S19).
    Walsender,
    /// A session that was opened before, and stays (S2).
    Kept,
    /// Somebody who opens the database again, and comes in (S5).
    Opener,
    /// Somebody who promotes another standby of the source, opens it, and comes in (S6).
    OtherPromoter,
    /// Somebody who promotes the target before the switch does, opens it, and comes in (S6).
    TargetPromoter,
    /// A superuser, by the role that the control plane has as well (S26).
    ControlRole,
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Walsender,
        Self::Kept,
        Self::Opener,
        Self::OtherPromoter,
        Self::TargetPromoter,
        Self::ControlRole,
    ];

    /// There is no other writer to come in to before.
    fn promotes(self) -> bool {
        matches!(self, Self::OtherPromoter | Self::TargetPromoter)
    }

    /// What it does to a server before it comes in, if anything.
    fn prelude(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Walsender | Self::Kept | Self::ControlRole => &[],
            Self::Opener => &[OPEN],
            Self::OtherPromoter | Self::TargetPromoter => &[PROMOTE, OPEN],
        }
    }
}

/// A write that a server acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) id: i64,
    pub(super) kind: Kind,
    pub(super) server: String,
    pub(super) xid: String,
    pub(super) at: Instant,
}

/// `731 of ControlRole on blue`
impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?} on {}", self.xid, self.kind, self.server)
    }
}

/// What all adversaries of a round have done.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    ids: Arc<AtomicI64>,
    tries: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<Vec<Acknowledged>>>,
}

/// Writes until it is dropped or ended.
pub(super) struct Adversary {
    stop: CancellationToken,
    task: JoinSet<()>,
}

enum Way {
    Sql(Session),
    Walsender(Walsender),
}

impl Log {
    pub(super) fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }

    pub(super) fn acknowledged(&self) -> Vec<Acknowledged> {
        let acknowledged = self.acknowledged.lock();
        acknowledged.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One write by `way`.
    async fn write(&self, kind: Kind, server: &PostgresServer, way: &mut Way) -> Result<()> {
        self.tries.fetch_add(1, Ordering::Relaxed);
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let sql = format!(
            "INSERT INTO adversary VALUES ({id}, '{kind:?}') RETURNING pg_current_xact_id()::text"
        );
        let xid = match way {
            Way::Sql(session) => session.query_one(&sql, &[]).await?.get(0),
            Way::Walsender(session) => session.query(&sql).await?.context("an id")?,
        };
        let written = Acknowledged {
            id,
            kind,
            server: server.name().to_owned(),
            xid,
            at: Instant::now(),
        };
        let acknowledged = self.acknowledged.lock();
        acknowledged
            .unwrap_or_else(PoisonError::into_inner)
            .push(written);
        Ok(())
    }
}

impl Adversary {
    /// Begins to write on `server`, `pace` apart; who opens or promotes it does so after `acts`.
    pub(super) async fn start(
        kind: Kind,
        server: &PostgresServer,
        log: &Log,
        (pace, acts): (Duration, Duration),
    ) -> Self {
        let stop = CancellationToken::new();
        let kept = match kind {
            Kind::Kept => server.client_as("app", DATNAME).await.ok().map(Way::Sql),
            Kind::Walsender => walsender(server).await.ok(),
            Kind::Opener | Kind::OtherPromoter | Kind::TargetPromoter | Kind::ControlRole => None,
        };
        let (server, log, stopped) = (server.clone(), log.clone(), stop.clone());
        let writing = async move {
            let began = Instant::now();
            let (mut way, mut has_acted) = (kept, false);
            loop {
                if !has_acted && began.elapsed() >= acts {
                    has_acted = act(kind, &server).await.is_ok();
                }
                let waits = kind.promotes() && !has_acted;
                if way.is_none() && kind != Kind::Kept && !waits {
                    log.tries.fetch_add(1, Ordering::Relaxed);
                    way = timeout(LOGIN, come_in(kind, &server))
                        .await
                        .unwrap_or_default();
                }
                if let Some(session) = &mut way
                    && let Err(_refused) = log.write(kind, &server, session).await
                    // A session on a standby waits for its promotion.
                    && (kind != Kind::Kept || !is_alive(session).await)
                {
                    way = None;
                }
                sleep(pace).await;
            }
        };
        let mut task = JoinSet::new();
        task.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = writing => {}
            }
        });
        Self { stop, task }
    }

    pub(super) async fn end(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.task.join_next().await {
            ended?;
        }
        Ok(())
    }
}

async fn come_in(kind: Kind, server: &PostgresServer) -> Option<Way> {
    match kind {
        // It was opened before, or never.
        Kind::Kept => None,
        Kind::Walsender => walsender(server).await.ok(),
        Kind::Opener | Kind::OtherPromoter | Kind::TargetPromoter | Kind::ControlRole => {
            server.client(DATNAME).await.ok().map(Way::Sql)
        }
    }
}

async fn walsender(server: &PostgresServer) -> Result<Way> {
    Ok(Way::Walsender(server.walsender("repl", DATNAME).await?))
}

async fn is_alive(way: &mut Way) -> bool {
    match way {
        Way::Sql(session) => session.query_one("SELECT 1", &[]).await.is_ok(),
        Way::Walsender(_) => false,
    }
}

/// Does what comes before coming in, as far as it is not done.
async fn act(kind: Kind, server: &PostgresServer) -> Result<()> {
    for (needed, statement) in kind.prelude() {
        let session = server.client("postgres").await?;
        if session.query_one(*needed, &[]).await?.get(0) {
            session.batch_execute(statement).await?;
        }
    }
    Ok(())
}

/// Whether it is needed, and what does it.
const PROMOTE: (&str, &str) = ("SELECT pg_is_in_recovery()", "SELECT pg_promote(true)");
const OPEN: (&str, &str) = (
    "SELECT true",
    "ALTER DATABASE orders ALLOW_CONNECTIONS true CONNECTION LIMIT -1",
);

/// A server that says nothing is no reason to wait.
const LOGIN: Duration = Duration::from_secs(2);
