use std::time::Duration;

use async_trait::async_trait;
use pointsman_cutover::ports::{
    Armed, ProviderError, ReverseSubscriber, SequenceValue, SubscriptionSpec,
};

use crate::{
    network::failed,
    server::{CONTROL, Kind, REPLICATOR, Server},
    tables::{Change, FencesChange},
};

use super::{control::Control, sessions::Workers};

/// Who passes a connection limit, the control role apart.
pub(super) fn admitted(server: &Server) -> Vec<String> {
    let roles = server.tables.roles.iter().filter(|(name, role)| {
        let enters = role.superuser || *name == REPLICATOR;
        *name != CONTROL && role.login && enters
    });
    roles.map(|(name, _)| name.clone()).collect()
}

impl Control {
    /// A change in a database that says of itself that it is the engine's.
    async fn marked(
        &self,
        datname: &str,
        what: &'static str,
        change: impl FnOnce(&Server) -> Option<Change> + Send + 'static,
    ) -> Result<(), ProviderError> {
        let database = datname.to_owned();
        self.ask_in(datname, what, move |server| {
            if server.in_recovery {
                return Err(failed(&server.name, what, "it is a standby (25006)"));
            }
            if let Some(change) = change(server) {
                let xid = server.next_xid;
                server.next_xid += 1;
                server.end(xid, &database, vec![change], false, true);
            }
            Ok(())
        })
        .await
    }

    async fn take_logins(&self) -> Result<Armed, ProviderError> {
        let admitted = self.ask("list who else enters", |server, _| Ok(admitted(server)));
        let roles = admitted.await?;
        if !roles.is_empty() {
            let server = self.name.clone();
            self.transaction("keep other roles out", move |_| {
                let taken = roles.iter().map(|role| Change::Login {
                    role: role.clone(),
                    allowed: false,
                });
                let mut changes: Vec<_> = taken.collect();
                changes.push(Change::Fences(FencesChange::KeepLogins { server, roles }));
                changes
            })
            .await?;
        }
        Ok(Armed {
            nologin_roles: self.kept_logins().await?,
            still_admitted: Vec::new(),
        })
    }

    async fn kept_logins(&self) -> Result<Vec<String>, ProviderError> {
        let name = self.name.clone();
        self.ask("read which roles lost LOGIN", move |server, _| {
            let fences = server.tables.fences.as_ref();
            let kept = fences.and_then(|fences| fences.get(&name));
            Ok(kept.map_or_else(Vec::new, |kept| kept.without_login.clone()))
        })
        .await
    }
}

#[async_trait]
impl ReverseSubscriber for Control {
    async fn arm(&self, subscriptions: &[SubscriptionSpec]) -> Result<Armed, ProviderError> {
        let datnames: Vec<_> = subscriptions.iter().map(|it| it.datname.clone()).collect();
        let armed = self.take_logins().await?;
        self.await_starting().await?;
        self.admit(&datnames).await?;
        self.end_all(&[], Workers::Spare, Duration::from_secs(5))
            .await?;
        for datname in &datnames {
            self.open(datname).await?;
        }
        for SubscriptionSpec { datname, slot, .. } in subscriptions {
            let (database, slot) = (datname.clone(), slot.clone());
            self.marked(datname, "subscribe to its successor", move |server| {
                let there = server.tables.subscriptions.contains_key(&database);
                Some(match there {
                    true => Change::Enable {
                        database,
                        enabled: true,
                    },
                    false => Change::Subscribe { database, slot },
                })
            })
            .await?;
        }
        Ok(armed)
    }

    async fn raise_sequences(&self, datname: &str) -> Result<usize, ProviderError> {
        let database = datname.to_owned();
        self.marked(
            datname,
            "set its sequences behind their columns",
            move |server| {
                let rows = server.tables.rows.get(&database)?;
                let value = i64::try_from(*rows.last()?).ok()?;
                Some(Change::Sequence { database, value })
            },
        )
        .await?;
        Ok(1)
    }

    async fn lacking_sequences(
        &self,
        datname: &str,
        _sequences: &[SequenceValue],
    ) -> Result<Vec<String>, ProviderError> {
        self.ask_in(datname, "look for sequences", |_| Ok(Vec::new()))
            .await
    }

    async fn set_sequences(
        &self,
        datname: &str,
        values: &[SequenceValue],
    ) -> Result<usize, ProviderError> {
        let (database, first) = (datname.to_owned(), values.first().map(|it| it.value));
        self.marked(datname, "set its sequences", move |_| {
            let value = first?;
            Some(Change::Sequence { database, value })
        })
        .await?;
        Ok(values.len())
    }

    async fn disable_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            let database = datname.clone();
            self.marked(datname, "stop the reverse stream", move |server| {
                let there = server.tables.subscriptions.contains_key(&database);
                there.then_some(Change::Enable {
                    database,
                    enabled: false,
                })
            })
            .await?;
        }
        self.ask("end the apply workers", |server, _| {
            server
                .backends
                .retain(|_, backend| backend.kind != Kind::Apply);
            Ok(())
        })
        .await
    }

    async fn drop_subscriptions(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            let there = self.ask("look for the subscription", {
                let database = datname.clone();
                move |server, _| Ok(server.tables.subscriptions.contains_key(&database))
            });
            if there.await? {
                let database = datname.clone();
                self.marked(datname, "drop the subscription", move |_| {
                    Some(Change::Unsubscribe { database })
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn restore_logins(&self, armed: &Armed) -> Result<(), ProviderError> {
        let mut roles = self.kept_logins().await?;
        roles.extend(armed.nologin_roles.iter().cloned());
        let taken = self.ask("look who lost LOGIN", move |server, _| {
            let lost = |role: &String| {
                server
                    .tables
                    .roles
                    .get(role)
                    .is_some_and(|role| !role.login)
            };
            roles.retain(lost);
            roles.sort_unstable();
            roles.dedup();
            Ok(roles)
        });
        let roles = taken.await?;
        if roles.is_empty() {
            return Ok(());
        }
        self.transaction("give logins back", move |_| {
            let given = roles.into_iter().map(|role| Change::Login {
                role,
                allowed: true,
            });
            given.collect()
        })
        .await
    }
}
