use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use pointsman_catalog::{Server, UnixMillis};

use super::super::{
    acl::Acl,
    powers::{BackendWait, Door, Powers},
    replication::{put_standbys_back, wait_for_standbys},
    statements::{PUBLICATION, admit_control, close_databases, promote, reopen_databases},
};
use crate::{
    Lsn,
    ports::{
        AccessRules, Arrivals, Breach, ConnectionAttempt, Exempt, Fence, FenceRecord, FenceToken,
        Finding, FormerSettings, GuardedPromotion, Look, Marker, Observation, Observe, Preparation,
        ProbeTable, PromoteAnswer, ProofMethod, ProviderError, Recorder, Replay, Replication,
        ReverseSlot, SessionControl, StandbyLink, StandbysSet, Synchronous, UserWrites, WalProof,
        WalReach, WriteProof,
    },
};

/// A server as it was seen once, and as it would be after what was recorded.
#[derive(Debug)]
pub(super) struct RecordingServer {
    pub(super) server: Server,
    pub(super) observed: Observation,
    pub(super) powers: Powers,
    pub(super) acls: BTreeMap<String, Acl>,
    pub(super) promoted: Mutex<Option<Lsn>>,
    pub(super) synchronous: Mutex<Synchronous>,
    pub(super) recorder: Recorder,
}

impl RecordingServer {
    pub(super) fn note(&self, effect: impl std::fmt::Display) {
        self.recorder
            .note(format!("{}: {effect}", self.server.name));
    }

    pub(super) fn note_all(&self, statements: &[String]) {
        self.note(format!("BEGIN; {}; COMMIT", statements.join("; ")));
    }

    /// As if a look were taken: no id is.
    pub(super) fn look(&self) -> Look {
        Look {
            lsn: self.observed.position,
            xid: 0,
            open: Vec::new(),
            own: Vec::new(),
        }
    }

    pub(super) fn oid(&self, datname: &str) -> u32 {
        let databases = &self.observed.databases;
        let found = databases
            .iter()
            .find(|database| database.datname == datname);
        found.map_or(0, |database| database.oid)
    }
}

#[async_trait]
impl Observe for RecordingServer {
    async fn observe(&self) -> Result<Observation, ProviderError> {
        let promoted = *self.promoted.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match promoted {
            Some(fork) => Observation {
                in_recovery: false,
                timeline: self.observed.timeline + 1,
                position: fork,
                replayed: Some(fork),
                ..self.observed.clone()
            },
            None => self.observed.clone(),
        })
    }
}

#[async_trait]
impl SessionControl for RecordingServer {
    fn is_lost(&self) -> bool {
        false
    }

    async fn open_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.note(format!("open control sessions to {}", datnames.join(", ")));
        Ok(())
    }

    async fn reenter_databases(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.note_all(&admit_control(datnames, &self.powers, &self.acls));
        Ok(())
    }

    async fn await_starting_backends(&self) -> Result<(), ProviderError> {
        let same = match self.powers.backend_wait() {
            BackendWait::Tablespace => "SET TABLESPACE (its own)",
            BackendWait::Rename => "RENAME TO (its own name, which is refused)",
        };
        self.note(format!("ALTER DATABASE … {same}, for each closed database"));
        Ok(())
    }

    async fn arrivals(
        &self,
        _since: UnixMillis,
        _datnames: &[String],
    ) -> Result<Arrivals, ProviderError> {
        Ok(Arrivals::default())
    }

    async fn end_sessions(
        &self,
        spare: &[ReverseSlot],
        deadline: Duration,
    ) -> Result<u64, ProviderError> {
        let spared: Vec<_> = spare.iter().map(|slot| slot.slot.as_str()).collect();
        let but = if spared.is_empty() {
            String::new()
        } else {
            format!(" but the walsenders of {}", spared.join(", "))
        };
        self.note(format!(
            "pg_terminate_backend every session with a database{but}; none left within {deadline:?}"
        ));
        Ok(0)
    }

    async fn end_strangers(&self, deadline: Duration) -> Result<u64, ProviderError> {
        self.note(format!(
            "pg_terminate_backend every session with a database but the apply workers; none left \
             within {deadline:?}"
        ));
        Ok(0)
    }

    async fn try_connect(&self, datname: &str) -> Result<ConnectionAttempt, ProviderError> {
        self.note(format!(
            "try a new connection to {datname}: in a hold it is let in, at a fence it must be refused"
        ));
        Ok(ConnectionAttempt::Refused {
            sqlstate: "55000".to_owned(),
            message: "dry run".to_owned(),
            by_access_rules: false,
            closed: true,
        })
    }
}

#[async_trait]
impl Fence for RecordingServer {
    async fn close(&self, _fence: &FenceRecord) -> Result<FormerSettings, ProviderError> {
        let mut statements = vec!["INSERT INTO pointsman.fence …".to_owned()];
        let databases = &self.observed.databases;
        statements.extend(close_databases(databases, &self.powers, &self.acls));
        self.note_all(&statements);
        if self.server.fence == pointsman_catalog::FenceLevel::SqlHba {
            self.note("COPY … TO pg_hba.conf (fenced); SELECT pg_reload_conf()");
        }
        Ok(FormerSettings {
            databases: self.observed.databases.clone(),
            not_closable: self.powers.not_closable.clone(),
            ..FormerSettings::default()
        })
    }

    async fn breaches(
        &self,
        _record: &FenceRecord,
        _spare: &[ReverseSlot],
    ) -> Result<Vec<Breach>, ProviderError> {
        self.note("prove that it is closed and empty");
        Ok(Vec::new())
    }

    async fn bake_breaches(
        &self,
        _record: &FenceRecord,
        _armed: &[String],
    ) -> Result<Vec<Breach>, ProviderError> {
        self.note("look whether it is still closed to everybody else");
        Ok(Vec::new())
    }

    async fn await_access_rules(
        &self,
        rules: AccessRules,
        deadline: Duration,
    ) -> Result<(), ProviderError> {
        let wanted = match rules {
            AccessRules::Fenced => "rejects",
            AccessRules::Former => "rejects no longer",
        };
        self.note(format!(
            "wait until pg_hba.conf {wanted}, at most {deadline:?}"
        ));
        Ok(())
    }

    async fn restore_access_rules(&self, former: &FormerSettings) -> Result<(), ProviderError> {
        if former.hba.is_some() {
            self.note("COPY … TO pg_hba.conf (as it was); SELECT pg_reload_conf()");
        }
        Ok(())
    }

    async fn reopen(
        &self,
        former: &FormerSettings,
        keep_closed: &[String],
    ) -> Result<(), ProviderError> {
        let ours = |datname: &String| self.powers.owns(datname) && !keep_closed.contains(datname);
        let databases = former.databases.iter();
        let mut statements = reopen_databases(databases.filter(|database| ours(&database.datname)));
        if self.powers.door() == Door::AccessList {
            statements.push("GRANT … (each access list as it was)".to_owned());
        }
        statements.push("DELETE FROM pointsman.fence …".to_owned());
        self.note_all(&statements);
        Ok(())
    }
}

#[async_trait]
impl Replication for RecordingServer {
    async fn replay(&self) -> Result<Replay, ProviderError> {
        Ok(Replay {
            in_recovery: self.observed.in_recovery,
            replayed: self.observed.position,
        })
    }

    async fn await_replay(&self, lsn: Lsn, deadline: Duration) -> Result<Replay, ProviderError> {
        self.note(format!(
            "wait until {lsn} is replayed, at most {deadline:?}"
        ));
        Ok(Replay {
            in_recovery: self.observed.in_recovery,
            replayed: lsn,
        })
    }

    async fn standby_link(&self) -> Result<StandbyLink, ProviderError> {
        Ok(StandbyLink {
            slot: None,
            restore_command: String::new(),
        })
    }

    async fn cut_off_standby(&self, slot: &str) -> Result<(), ProviderError> {
        self.note(format!("SELECT pg_drop_replication_slot('{slot}')"));
        Ok(())
    }

    async fn synchronous(&self) -> Result<Synchronous, ProviderError> {
        let synchronous = self.synchronous.lock();
        Ok(synchronous.unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn wait_for_standbys(&self, names: &str) -> Result<(), ProviderError> {
        self.note(format!(
            "{}; SELECT pg_reload_conf()",
            wait_for_standbys(names)
        ));
        let mut synchronous = self
            .synchronous
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        names.clone_into(&mut synchronous.names);
        Ok(())
    }

    async fn put_standbys_back(&self, former: &StandbysSet) -> Result<(), ProviderError> {
        self.note(format!(
            "{}; SELECT pg_reload_conf()",
            put_standbys_back(former)
        ));
        Ok(())
    }
}

#[async_trait]
impl GuardedPromotion for RecordingServer {
    async fn promote(
        &self,
        token: FenceToken,
        deadline: UnixMillis,
    ) -> Result<PromoteAnswer, ProviderError> {
        let marker = token.marker.lsn;
        self.note(promote(marker, deadline, &self.powers.not_closable));
        *self.promoted.lock().unwrap_or_else(PoisonError::into_inner) = Some(marker);
        Ok(PromoteAnswer::Asked)
    }

    async fn await_primary(&self, deadline: Duration) -> Result<Observation, ProviderError> {
        self.note(format!("wait until it is a primary, at most {deadline:?}"));
        Observe::observe(self).await
    }
}

#[async_trait]
impl WalProof for RecordingServer {
    async fn marker(&self, id: &str, _datnames: &[String]) -> Result<Marker, ProviderError> {
        self.note(format!(
            "SELECT pg_logical_emit_message(true, 'pointsman.fence', '{id}')"
        ));
        Ok(Marker::from(self.look()))
    }

    async fn flush(&self) -> Result<Lsn, ProviderError> {
        self.note("SELECT pg_logical_emit_message(true, 'pointsman.flush', '')");
        Ok(self.observed.position)
    }

    async fn prove_unwritten(
        &self,
        since: &Look,
        _exempt: &Exempt,
    ) -> Result<WriteProof, ProviderError> {
        self.note(format!("prove that nobody wrote since {}", since.lsn));
        Ok(WriteProof {
            method: ProofMethod::WalRecords,
            through: self.look(),
            finding: Finding::Unwritten,
        })
    }

    async fn note_breach(&self, breach: &str) -> Result<(), ProviderError> {
        self.note(format!("write down that its fence was broken: {breach}"));
        Ok(())
    }

    async fn user_commits(&self, since: Lsn, _: &Exempt) -> Result<Option<u64>, ProviderError> {
        self.note(format!("count user commits in WAL since {since}"));
        Ok(Some(0))
    }

    async fn user_writes(
        &self,
        since: &WalReach,
        _exempt: &Exempt,
        _moving: &[String],
        _within: Duration,
    ) -> Result<Option<UserWrites>, ProviderError> {
        self.note(format!("read who wrote in its WAL since {}", since.lsn));
        Ok(Some(UserWrites::default()))
    }
}

#[async_trait]
impl ProbeTable for RecordingServer {
    async fn write_probe(&self, datname: &str, value: i64) -> Result<(), ProviderError> {
        self.note(format!(
            "INSERT INTO pointsman.probe … ({value}) in {datname}"
        ));
        Ok(())
    }

    async fn is_there(&self, _datname: &str) -> Result<bool, ProviderError> {
        Ok(true)
    }

    async fn read_probe(&self, _datname: &str) -> Result<Option<i64>, ProviderError> {
        Ok(None)
    }
}

#[async_trait]
impl Preparation for RecordingServer {
    async fn prepare(&self, datnames: &[String]) -> Result<Exempt, ProviderError> {
        self.note(format!(
            "make the fence table, and in {} the probe table and publication {PUBLICATION}",
            datnames.join(", ")
        ));
        Ok(Exempt::default())
    }

    async fn complete(&self, datnames: &[String]) -> Result<(), ProviderError> {
        if !self.powers.superuser {
            self.note(format!(
                "ALTER PUBLICATION {PUBLICATION} ADD TABLE …, for tables made since the start, in {}",
                datnames.join(", ")
            ));
        }
        Ok(())
    }

    async fn unprepare(&self, datnames: &[String]) -> Result<(), ProviderError> {
        self.note(format!(
            "drop publication {PUBLICATION} in {}",
            datnames.join(", ")
        ));
        Ok(())
    }
}
