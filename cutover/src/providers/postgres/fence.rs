use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::try_join;

use super::{
    acl::{self, Acl},
    admission::changeable,
    client_sessions::{ClientSessions, Left, Workers},
    control_sessions::ControlSessions,
    hba::HbaFile,
    identity::SqlIdentity,
    logins::Logins,
    powers::Door,
    record,
    statements::{close_databases, reopen_databases},
};
use crate::{
    machine::supersedes,
    ports::{
        AccessRules, AclItem, Breach, BreachKind, Fence, FenceRecord, FormerSettings, Observe as _,
        ProviderError, ReverseSlot,
    },
};

/// Closes the databases of a server, and its `pg_hba.conf` at level `sql+hba`.
#[derive(Debug)]
pub(super) struct SqlFence {
    pub(super) control: Arc<ControlSessions>,
    pub(super) clients: ClientSessions,
    pub(super) identity: SqlIdentity,
    pub(super) hba: Arc<HbaFile>,
}

impl SqlFence {
    /// Parses, plans and loads what the pause will use.
    pub(super) async fn warm_up(&self) -> Result<(), ProviderError> {
        let nothing: [&str; 0] = [];
        let nothing = nothing.as_slice();
        let postgres = &self.control.postgres;
        postgres
            .rows(
                "read its databases",
                BREACHES,
                &[&nothing, &nothing, &"", &nothing, &""],
            )
            .await?;
        if self.control.powers.door() == Door::AccessList {
            acl::read(postgres, nothing).await?;
        }
        Ok(())
    }

    /// See [`Fence::breaches`] and [`Fence::bake_breaches`].
    async fn found_open(
        &self,
        former: &FormerSettings,
        armed: &[String],
        sessions: impl Future<Output = Result<Vec<Left>, ProviderError>>,
    ) -> Result<Vec<Breach>, ProviderError> {
        let known: Vec<&str> = former
            .databases
            .iter()
            .map(|database| database.datname.as_str())
            .collect();
        let door = match self.control.powers.door() {
            Door::Limit => "limit",
            Door::AccessList => "access list",
        };
        let (rows, sessions) = try_join(
            self.control.postgres.rows(
                "prove its fence",
                BREACHES,
                &[
                    &known,
                    &former.not_closable,
                    &door_of_postgres(former),
                    &armed,
                    &door,
                ],
            ),
            sessions,
        )
        .await?;
        let sessions = sessions.into_iter().map(|session| Breach {
            message: format!("a session is left: {}", session.description),
            kind: match session.walsender {
                true => BreachKind::Walsender,
                false => BreachKind::Session,
            },
        });
        let settings = rows.iter().map(|row| Breach {
            message: row.get(0),
            kind: match row.get(1) {
                "opened" => BreachKind::Opened,
                "prepared" => BreachKind::Prepared,
                _ => BreachKind::Lasting,
            },
        });
        Ok(settings.chain(sessions).collect())
    }

    /// Roles that can log in again, in words, where arming has taken that from all who could. It does so
    /// before the databases of `armed` open.
    async fn logins_given_back(&self, armed: &[String]) -> Result<Option<String>, ProviderError> {
        let postgres = &self.control.postgres;
        let row = postgres
            .row("look whether it is armed", IS_ARMED, &[&armed])
            .await?;
        if !row.get::<_, bool>(0) {
            return Ok(None);
        }
        let back = Logins::of(postgres).await?.to_take;
        let roles = back.join(", ");
        Ok((!back.is_empty())
            .then(|| format!("{roles} can log in again: somebody gave LOGIN back")))
    }

    /// What gives the access lists of `former` back, those of `keep_closed` apart.
    async fn restore_acls(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<Vec<String>, ProviderError> {
        let restored = || {
            let lists = former.acls.iter();
            lists.filter(|(datname, _)| !keep_closed.contains(datname))
        };
        let datnames: Vec<&str> = restored().map(|(datname, _)| datname.as_str()).collect();
        if datnames.is_empty() {
            return Ok(Vec::new());
        }
        let postgres = &self.control.postgres;
        let lists = restored().map(|(_, items)| items.as_slice());
        let (now, there) = try_join(
            acl::read(postgres, &datnames),
            acl::roles_left(postgres, lists),
        )
        .await?;
        let statements = restored().filter_map(|(datname, items)| {
            let now = now.get(datname)?;
            Some(now.restore(datname, &acl::of_roles(items, &there)))
        });
        Ok(statements.flatten().collect())
    }
}

fn items(acls: &BTreeMap<String, Acl>) -> BTreeMap<String, Vec<AclItem>> {
    let lists = acls.iter();
    lists
        .map(|(datname, acl)| (datname.clone(), acl.items.clone()))
        .collect()
}

/// How strangers are kept out of `postgres` by this fence.
fn door_of_postgres(former: &FormerSettings) -> &'static str {
    if former.acls.contains_key("postgres") {
        "access list"
    } else if former.not_closable.iter().any(|name| name == "postgres") {
        ""
    } else {
        "limit"
    }
}

#[async_trait]
impl Fence for SqlFence {
    async fn close(&self, fence: &FenceRecord) -> Result<FormerSettings, ProviderError> {
        let (records, observed) = try_join(
            record::read_all(&self.control.postgres),
            self.identity.observe(),
        )
        .await?;
        let acls = changeable(&self.control, &observed.databases).await?;
        let recorded = records
            .into_iter()
            .find(|found| found.server == fence.server);
        let closed = match recorded {
            Some(found) if found.migration != fence.migration => {
                return Err(self.control.unfit(format!(
                    "it carries the fence of migration {}, and the former settings are in that \
                     record; end that migration first",
                    found.migration
                )));
            }
            Some(found) if supersedes(found.epoch, fence.epoch) => {
                return Err(self.control.superseded(found));
            }
            // This migration closed it before: what is in force now is the fence itself.
            Some(found) => found.former,
            None => {
                let control = &self.control;
                control.powers.closes_the_same(&control.postgres).await?;
                FormerSettings {
                    databases: observed.databases.clone(),
                    hba: self.hba.read().await?,
                    acls: items(&acls),
                    not_closable: self.control.powers.not_closable.clone(),
                }
            }
        };
        let full = FenceRecord {
            former: closed.clone(),
            ..fence.clone()
        };
        let mut statements = vec![record::write(&full)?];
        let powers = &self.control.powers;
        statements.extend(close_databases(&observed.databases, powers, &acls));
        self.control
            .postgres
            .transaction("close it", &statements)
            .await?;
        if let Some(former) = &closed.hba {
            self.hba.fence(former).await?;
        }
        Ok(closed)
    }

    async fn breaches(
        &self,
        record: &FenceRecord,
        spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError> {
        let sessions = self.clients.left(spare, Workers::End);
        self.found_open(&record.former, &[], sessions).await
    }

    async fn bake_breaches(
        &self,
        record: &FenceRecord,
        armed: &[String],
    ) -> Result<Vec<Breach>, ProviderError> {
        let former = &record.former;
        let sessions = self.clients.left(&[], Workers::Spare);
        let mut breaches = self.found_open(former, armed, sessions).await?;
        let opened = |message| Breach {
            message,
            kind: BreachKind::Opened,
        };
        breaches.extend(self.logins_given_back(armed).await?.map(opened));
        if let Some(former) = &former.hba {
            breaches.extend(self.hba.lifted(former).await?.map(opened));
        }
        Ok(breaches)
    }

    async fn await_access_rules(
        &self,
        rules: AccessRules,
        deadline: Duration,
    ) -> Result<(), ProviderError> {
        self.hba.await_loaded(rules, deadline).await
    }

    async fn restore_access_rules(&self, former: &FormerSettings) -> Result<(), ProviderError> {
        match &former.hba {
            Some(text) => self.hba.write(text).await,
            None => Ok(()),
        }
    }

    async fn reopen(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<(), ProviderError> {
        let there = self.identity.observe().await?.databases;
        let there: BTreeSet<_> = there.iter().map(|database| &database.datname).collect();
        let powers = &self.control.powers;
        let lost: Vec<_> = former
            .databases
            .iter()
            .filter(|database| database.allow_connections && there.contains(&database.datname))
            .map(|database| &database.datname)
            .filter(|datname| !powers.owns(datname) && !keep_closed.contains(datname))
            .filter(|datname| !former.not_closable.contains(datname))
            .map(String::as_str)
            .collect();
        if !lost.is_empty() {
            return Err(self.control.unfit(format!(
                "the fence closed {}, and {} cannot open what it does not own any more: make it a \
                 member of the owner, and go on",
                lost.join(", "),
                powers.role
            )));
        }
        let databases = former.databases.iter().filter(|database| {
            let datname = &database.datname;
            let ours = powers.owns(datname) && !former.not_closable.contains(datname);
            ours && there.contains(datname) && !keep_closed.contains(datname)
        });
        let mut statements = reopen_databases(databases);
        statements.extend(self.restore_acls(former, keep_closed).await?);
        statements.push(record::delete(&self.control.leader.migration));
        self.control
            .postgres
            .transaction("open it", &statements)
            .await
    }
}

const IS_ARMED: &str =
    "SELECT EXISTS (SELECT FROM pg_database WHERE datallowconn AND datname = ANY ($1))";

const BREACHES: &str = "SELECT format('database %s is open', datname) || \
         CASE WHEN datname = ANY ($4) AND $5 = 'limit' \
           THEN format(', with connection limit %s', datconnlimit) ELSE '' END, 'opened' \
       FROM pg_database \
       WHERE datallowconn AND datname <> 'postgres' AND datname <> ALL ($2) \
         AND NOT (datname = ANY ($4) AND CASE $5 WHEN 'limit' THEN datconnlimit = 0 ELSE NOT EXISTS ( \
           SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) a \
           WHERE a.privilege_type = 'CONNECT' \
             AND a.grantee <> (SELECT oid FROM pg_roles WHERE rolname = current_user)) END) \
     UNION ALL SELECT format('database %s was created after the fence', datname), 'lasting' \
       FROM pg_database WHERE datname <> ALL ($1) \
     UNION ALL SELECT format('database postgres has connection limit %s', datconnlimit), 'opened' \
       FROM pg_database WHERE $3 = 'limit' AND datname = 'postgres' AND datconnlimit <> 0 \
     UNION ALL SELECT format('%s may connect to database postgres', \
         CASE a.grantee WHEN 0 THEN 'everybody' ELSE pg_get_userbyid(a.grantee) END), 'opened' \
       FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a \
       WHERE $3 = 'access list' AND d.datname = 'postgres' AND a.privilege_type = 'CONNECT' \
         AND a.grantee <> (SELECT oid FROM pg_roles WHERE rolname = current_user) \
     UNION ALL SELECT format('prepared transaction %s of %s survives every fence', gid, owner), 'prepared' \
       FROM pg_prepared_xacts WHERE database <> ALL ($2)";
