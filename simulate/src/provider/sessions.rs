use std::time::Duration;

use async_trait::async_trait;
use pointsman_catalog::UnixMillis;
use pointsman_cutover::ports::{
    Arrivals, ConnectionAttempt, ProviderError, ReverseSlot, SessionControl,
};

use crate::{
    network::To,
    server::{Backend, CONTROL, Kind, Refused, Server},
    tables::Change,
};

use super::control::Control;

/// What becomes of apply workers when sessions are ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Workers {
    End,
    Spare,
}

/// Everybody that "none left" counts. Who is starting is in no view yet.
pub(super) fn left(
    server: &Server,
    now: u64,
    own: &[u64],
    spare: &[String],
    workers: Workers,
) -> Vec<(u64, String)> {
    let counts = |pid: &u64, backend: &Backend| {
        let spared = match &backend.kind {
            Kind::Walsender { slot: Some(slot) } => spare.contains(slot),
            Kind::Apply => workers == Workers::Spare,
            Kind::Walsender { slot: None } | Kind::Client | Kind::Control { .. } => false,
        };
        !own.contains(pid) && !spared && backend.shown_from <= now
    };
    let left = server
        .backends
        .iter()
        .filter(|(pid, backend)| counts(pid, backend));
    let describe = |(pid, backend): (&u64, &Backend)| {
        let Backend {
            database,
            role,
            kind,
            ..
        } = backend;
        (
            *pid,
            format!("{kind:?} of {role} in {database} (pid {pid})"),
        )
    };
    left.map(describe).collect()
}

impl Control {
    pub(super) async fn end_all(
        &self,
        spare: &[ReverseSlot],
        workers: Workers,
        within: Duration,
    ) -> Result<u64, ProviderError> {
        let spare: Vec<_> = spare.iter().map(|slot| slot.slot.clone()).collect();
        let deadline = self.deadline(within);
        let mut ended = 0;
        loop {
            let (own, spare) = (self.own_pids(), spare.clone());
            let found = self
                .ask_world("end its sessions", move |world, side| {
                    let now = world.now();
                    let found = left(world.server(side), now, &own, &spare, workers);
                    for (pid, _) in &found {
                        // A backend heeds it at its next look.
                        let pid = *pid;
                        let after = world.some(50..1500);
                        world.after(after, move |world| world.server_mut(side).end_backend(pid));
                    }
                    Ok(found)
                })
                .await?;
            if found.is_empty() {
                return Ok(ended);
            }
            ended = ended.max(found.len() as u64);
            if self.has_passed(deadline) {
                let (_, first) = &found[0];
                return Err(self.timed_out("the end of its sessions", within, first));
            }
            self.pause().await;
        }
    }

    /// Everybody that passed the door before it was shut is shown.
    pub(super) async fn await_starting(&self) -> Result<(), ProviderError> {
        loop {
            let starting = self.ask("wait out starting sessions", |server, now| {
                let closed = |backend: &Backend| {
                    let settings = server.tables.databases.get(&backend.database);
                    settings.is_some_and(|settings| !settings.allow_connections)
                };
                let mut backends = server.backends.values();
                Ok(backends.any(|backend| backend.shown_from > now && closed(backend)))
            });
            if !starting.await? {
                return Ok(());
            }
            self.pause().await;
        }
    }

    /// Lets the control role and superusers in.
    pub(super) async fn admit(&self, datnames: &[String]) -> Result<(), ProviderError> {
        let datnames = datnames.to_vec();
        self.transaction("let the control role in", move |_| {
            let open = |database: String| Change::Settings {
                database,
                allow: Some(true),
                limit: Some(0),
            };
            datnames.into_iter().map(open).collect()
        })
        .await
    }
}

#[async_trait]
impl SessionControl for Control {
    fn is_lost(&self) -> bool {
        self.has_ended()
    }

    async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            self.open(datname).await?;
        }
        Ok(())
    }

    async fn reenter_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.admit(datnames).await?;
        let entered = self.open_databases(datnames).await;
        let closed = datnames.to_vec();
        self.transaction("close it again", move |_| {
            let close = |database: String| Change::Settings {
                database,
                allow: Some(false),
                limit: None,
            };
            closed.into_iter().map(close).collect()
        })
        .await?;
        entered?;
        self.await_starting().await?;
        self.end_all(&[], Workers::End, Duration::from_secs(2))
            .await?;
        Ok(())
    }

    async fn await_starting_backends(&self) -> Result<(), ProviderError> {
        self.await_starting().await
    }

    async fn arrivals(
        &self,
        since: UnixMillis,
        datnames: &[String],
    ) -> Result<Arrivals, ProviderError> {
        let (own, datnames) = (self.own_pids(), datnames.to_vec());
        self.ask("count who comes in", move |server, now| {
            let clients = server
                .backends
                .iter()
                .filter(|(pid, backend)| !own.contains(pid) && backend.kind == Kind::Client);
            let mut arrivals = Arrivals::default();
            for (_, backend) in clients {
                if backend.shown_from > now {
                    arrivals.logging_in += 1;
                    continue;
                }
                arrivals.logged_in += u64::from(datnames.contains(&backend.database));
                arrivals.newcomers += u64::from(backend.started > since);
            }
            Ok(arrivals)
        })
        .await
    }

    async fn end_sessions(
        &self,
        spare: &[ReverseSlot],
        deadline: Duration,
    ) -> Result<u64, ProviderError> {
        self.end_all(spare, Workers::End, deadline).await
    }

    async fn end_strangers(&self, deadline: Duration) -> Result<u64, ProviderError> {
        self.end_all(&[], Workers::Spare, deadline).await
    }

    async fn try_connect(&self, datname: &str) -> Result<ConnectionAttempt, ProviderError> {
        let side = self.side;
        let wanted = datname.to_owned();
        let to = To { side, pid: None };
        let tried = self.shared.ask(to, "try a new connection", move |world| {
            let admitted = world.server(side).admits(CONTROL, &wanted, false);
            Ok(admitted.map_err(|refused| (refused, refused.words(&wanted))))
        });
        Ok(match tried.await {
            Ok(Ok(())) => ConnectionAttempt::Accepted,
            Ok(Err((refused, (code, message)))) => ConnectionAttempt::Refused {
                sqlstate: code.to_owned(),
                message,
                by_access_rules: refused == Refused::ByRules,
                closed: refused == Refused::Closed,
            },
            Err(error) => ConnectionAttempt::Unreachable {
                reason: error.to_string(),
            },
        })
    }
}
