//! Clients that write and read through a change of servers, and know afterwards exactly what they saw.
//!
//! Each writer numbers its writes from 1 without a gap and keeps what was acknowledged outside the database. A write
//! whose answer was cut off is looked up, over the same route, before it is tried again. Half of the writers keep their
//! session, half connect anew for each write; readers of both kinds run beside them.
//!
//! The databases need one table, without a unique key over client and number, so that a duplicate can show itself:
//! `writes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, client int NOT NULL, number bigint NOT NULL, …)`.
//!
//! While a run lasts, [`Workload::record`] tells what has happened so far; [`Record::figures`] turns a record into the
//! figures of one switch, and [`verify::compare`] holds it against what the tables contain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

mod client;
mod clock;
mod figures;
mod reader;
mod record;
mod route;
mod session;
pub mod verify;
mod writer;

pub use client::Manners;
pub use clock::{Clock, Moment};
pub use figures::{Figures, Switch};
pub use record::{
    ClientRecord, Event, EventKind, Failure, FailureClass, Habit, Identity, Proof, Record, Role,
};
pub use route::Route;
pub use session::{ConnectError, Login, Session, error_message};

use crate::{Lab, postgres::ClientTls};
use client::Client;
use reader::Reader;
use record::Log;
use writer::Writer;

/// Who works where, and how often.
#[derive(Debug, Clone)]
pub struct WorkloadOptions {
    /// The databases and the ways to them.
    pub databases: Vec<Access>,
    /// The application's role.
    pub user: String,
    /// Its password, if the servers ask for one.
    pub password: Option<String>,
    /// Without it sessions are not encrypted.
    pub tls: Option<ClientTls>,
    /// How many clients of former workloads have written into the same tables: the numbers of these
    /// clients begin behind theirs.
    pub clients_before: usize,
    /// How many clients write.
    pub writers: usize,
    /// How many clients read.
    pub readers: usize,
    /// Time between two writes of one client that keeps its session.
    pub write_every: Duration,
    /// Time between two writes of one client that connects for each: a new session costs a server some ten times the
    /// work of a write.
    pub reconnect_every: Duration,
    /// Time between two reads of one client.
    pub read_every: Duration,
    /// How patient the clients are.
    pub manners: Manners,
}

/// The ways to one database, one of each per sidecar.
#[derive(Debug, Clone)]
pub struct Access {
    /// The PostgreSQL database.
    pub datname: String,
    /// Where writers connect.
    pub writer: Vec<Route>,
    /// Where readers connect; may be empty if there are no readers.
    pub reader: Vec<Route>,
}

/// A running workload; dropping it cuts the clients off.
#[derive(Debug)]
pub struct Workload {
    clock: Clock,
    logs: Vec<Arc<Log>>,
    acked: watch::Receiver<u64>,
    clients: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    give_up: CancellationToken,
}

impl Access {
    /// The ways through the sidecars of a lab, to each of its databases.
    #[must_use]
    pub fn through_sidecars(lab: &Lab) -> Vec<Self> {
        let numbers = || (0..).zip(&lab.sidecars).map(|(number, _)| number);
        let ways = lab.databases.iter().map(|database| Self {
            datname: database.name.clone(),
            writer: numbers()
                .map(|n| Route::Fixed(lab.writer(n, database)))
                .collect(),
            reader: numbers()
                .map(|n| Route::Fixed(lab.reader(n, database)))
                .collect(),
        });
        ways.collect()
    }
}

impl WorkloadOptions {
    /// Over these databases: 24 writers that make some 490 writes a second, 4 readers.
    #[must_use]
    pub fn over(databases: Vec<Access>) -> Self {
        Self {
            databases,
            user: "app".to_owned(),
            password: None,
            tls: None,
            clients_before: 0,
            writers: 24,
            readers: 4,
            write_every: Duration::from_millis(28),
            reconnect_every: Duration::from_millis(200),
            read_every: Duration::from_millis(100),
            manners: Manners::default(),
        }
    }

    /// The same through the sidecars of `lab`, as its servers want clients to log in.
    ///
    /// # Errors
    /// The certificate of the servers' authority cannot be used.
    pub fn through_sidecars(lab: &Lab) -> anyhow::Result<Self> {
        let server = &lab.pair.source;
        let options = Self::over(Access::through_sidecars(lab));
        Ok(Self {
            password: server.hosting().password(&options.user),
            tls: server.client_tls()?,
            ..options
        })
    }

    /// Who the client at `place` among those of its role is, and which way it takes.
    ///
    /// Databases alternate fastest, then habits, then ways, so that each combination gets its share.
    fn assign(&self, role: Role, place: usize) -> Option<(Identity, Route)> {
        let databases = self.databases.len();
        let access = self.databases.get(place.checked_rem(databases)?)?;
        let habit = match (place / databases) % 2 {
            0 => Habit::KeepsSession,
            _ => Habit::Reconnects,
        };
        let (routes, before) = match role {
            Role::Writer => (&access.writer, 0),
            Role::Reader => (&access.reader, self.writers),
        };
        let way = (place / (2 * databases) + place).checked_rem(routes.len())?;
        let identity = Identity {
            client: i32::try_from(self.clients_before + before + place + 1).ok()?,
            role,
            habit,
            datname: access.datname.clone(),
        };
        Some((identity, routes.get(way)?.clone()))
    }
}

impl Workload {
    /// Starts every client; they begin one after the other within the first interval.
    ///
    /// # Errors
    /// There is no database, or one without an address.
    pub fn start(options: &WorkloadOptions) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let (acked, watched) = watch::channel(0);
        let mut workload = Self {
            clock,
            logs: Vec::new(),
            acked: watched,
            clients: JoinSet::new(),
            stop,
            give_up,
        };
        for place in 0..options.writers {
            let client = workload.client(options, Role::Writer, place, &acked)?;
            let every = match client.keeps_session() {
                true => options.write_every,
                false => options.reconnect_every,
            };
            let pace = staggered(every, place, options.writers);
            workload.clients.spawn(Writer::new(client).run(pace));
        }
        for place in 0..options.readers {
            let client = workload.client(options, Role::Reader, place, &acked)?;
            let pace = staggered(options.read_every, place, options.readers);
            workload.clients.spawn(Reader::new(client).run(pace));
        }
        Ok(workload)
    }

    /// The clock that stamps the events.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// How many writes have been acknowledged so far.
    #[must_use]
    pub fn acked(&self) -> u64 {
        *self.acked.borrow()
    }

    /// What has happened so far.
    #[must_use]
    pub fn record(&self) -> Record {
        Record {
            clock: self.clock,
            clients: self.logs.iter().map(|log| log.copy()).collect(),
        }
    }

    /// Waits until `more` further writes are acknowledged.
    ///
    /// # Errors
    /// They are not within `deadline`.
    pub async fn more_acked(&self, more: u64, deadline: Duration) -> anyhow::Result<()> {
        let mut acked = self.acked.clone();
        let goal = *acked.borrow() + more;
        let reached = timeout(deadline, acked.wait_for(|acked| *acked >= goal)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the writers ended at {} acknowledged writes", self.acked()),
            Err(_) => bail!(
                "{} writes acknowledged after {deadline:?} instead of {goal}; last errors: {}",
                self.acked(),
                self.record().last_errors(3)
            ),
        }
    }

    /// Waits until the server at `port` has acknowledged a write of every writer since `since`, and every reader has been
    /// answered after that: then everybody is through a switch to this server.
    ///
    /// # Errors
    /// Somebody is not through within `deadline`.
    pub async fn all_through(
        &self,
        port: u16,
        since: Moment,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let mut acked = self.acked.clone();
        let mut written = None;
        let all = async {
            loop {
                let through = match written {
                    None => self.logs.iter().all(|log| log.wrote_to(port, since)),
                    Some(moment) => self.logs.iter().all(|log| log.read_since(moment)),
                };
                match (through, written) {
                    (false, _) => acked.changed().await?,
                    (true, None) => written = Some(self.clock.now()),
                    (true, Some(_)) => return Ok(()),
                }
            }
        };
        match timeout(deadline, all).await {
            Ok(outcome) => outcome,
            Err(_) => bail!(
                "not every client is served by port {port} after {deadline:?}; last errors: {}",
                self.record().last_errors(3)
            ),
        }
    }

    /// Waits until a stretch of time `over` has seen at least `per_second` acknowledged writes a second, and says how many.
    ///
    /// # Errors
    /// No such stretch ends within `deadline`.
    pub async fn steady(
        &self,
        per_second: f64,
        over: Duration,
        deadline: Duration,
    ) -> anyhow::Result<f64> {
        let until = Instant::now() + deadline;
        loop {
            let (began, before) = (Instant::now(), self.acked());
            sleep_until(began + over).await;
            let made = u32::try_from(self.acked() - before).unwrap_or(u32::MAX);
            let rate = f64::from(made) / began.elapsed().as_secs_f64();
            if rate >= per_second {
                return Ok(rate);
            }
            if Instant::now() >= until {
                bail!(
                    "{rate:.0} acknowledged writes/s instead of {per_second:.0}; last errors: {}",
                    self.record().last_errors(3)
                );
            }
        }
    }

    /// Stops the clients and hands over their record. Writes under way are finished first, for up to `grace`; what is
    /// still open then stays in doubt.
    ///
    /// # Errors
    /// A client got an answer that makes no sense.
    pub async fn stop(mut self, grace: Duration) -> anyhow::Result<Record> {
        self.stop.cancel();
        let until = Instant::now() + grace;
        loop {
            let ended = tokio::select! {
                ended = self.clients.join_next() => ended,
                () = sleep_until(until), if !self.give_up.is_cancelled() => {
                    self.give_up.cancel();
                    continue;
                }
            };
            match ended {
                None => return Ok(self.record()),
                Some(outcome) => outcome.context("a client ended badly")??,
            }
        }
    }

    fn client(
        &mut self,
        options: &WorkloadOptions,
        role: Role,
        place: usize,
        acked: &watch::Sender<u64>,
    ) -> anyhow::Result<Client> {
        let assigned = options.assign(role, place);
        let (identity, route) = assigned.context("a database has no address")?;
        let login = Login {
            user: options.user.clone(),
            password: options.password.clone(),
            tls: options.tls.clone(),
            datname: identity.datname.clone(),
            application_name: format!("client-{}", identity.client),
        };
        let log = Arc::new(Log::new(identity));
        self.logs.push(Arc::clone(&log));
        Ok(Client {
            log,
            clock: self.clock,
            route,
            login,
            manners: options.manners,
            acked: acked.clone(),
            stop: self.stop.clone(),
            give_up: self.give_up.clone(),
        })
    }
}

/// A pace that keeps its phase over a pause, so that the clients stay spread and do not catch up in a burst.
fn staggered(every: Duration, place: usize, of: usize) -> Interval {
    let share = u32::try_from(place).unwrap_or(0);
    let parts = u32::try_from(of.max(1)).unwrap_or(u32::MAX);
    let mut pace = interval_at(Instant::now() + every * share / parts, every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    pace
}
