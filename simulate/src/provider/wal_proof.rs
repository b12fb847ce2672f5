use std::time::Duration;

use async_trait::async_trait;
use pointsman_cutover::{
    Lsn,
    ports::{
        Exempt, Finding, Look, Marker, ProofMethod, ProviderError, UserCommit, UserWrites,
        WalProof, WalReach, WriteProof,
    },
};

use crate::{network::failed, server::Record};

use super::control::Control;

#[async_trait]
impl WalProof for Control {
    async fn marker(&self, _id: &str, datnames: &[String]) -> Result<Marker, ProviderError> {
        let look = self.ask("write the fence marker", |server, _| {
            server
                .look()
                .map_err(|reason| failed(&server.name, "write the fence marker", reason))
        });
        let mut look = look.await?;
        let mut last = look.lsn;
        for datname in datnames {
            let database = datname.clone();
            let written = self.ask_in(datname, "write a marker", move |server| {
                if server.in_recovery {
                    return Err(failed(&server.name, "write a marker", "it is a standby"));
                }
                Ok(server.commit(&database, Vec::new()))
            });
            let (xid, lsn) = written.await?;
            look.own.push(xid);
            last = last.max(lsn);
        }
        Ok(Marker { lsn: last, look })
    }

    async fn flush(&self) -> Result<Lsn, ProviderError> {
        self.ask("flush its WAL", |server, _| {
            let written = server.commit_own(Vec::new());
            let written = written.map(|(_, end)| end);
            written.map_err(|reason| failed(&server.name, "flush its WAL", reason))
        })
        .await
    }

    async fn prove_unwritten(
        &self,
        since: &Look,
        _exempt: &Exempt,
    ) -> Result<WriteProof, ProviderError> {
        let since = since.clone();
        self.ask("prove from WAL that nobody wrote", move |server, _| {
            let through = server.look();
            let through = through.map_err(|reason| failed(&server.name, "prove", reason))?;
            let others = |record: &Record| !since.own.contains(&record.xid);
            let count = server.others_since(since.lsn, others).count() as u64;
            Ok(WriteProof {
                method: ProofMethod::WalRecords,
                through,
                finding: match count {
                    0 => Finding::Unwritten,
                    count => Finding::Written(count),
                },
            })
        })
        .await
    }

    async fn note_breach(&self, _breach: &str) -> Result<(), ProviderError> {
        self.transaction("note a breach", |_| Vec::new()).await
    }

    async fn user_commits(
        &self,
        since: Lsn,
        _exempt: &Exempt,
    ) -> Result<Option<u64>, ProviderError> {
        self.ask("count who wrote", move |server, _| {
            Ok(Some(server.others_since(since, |_| true).count() as u64))
        })
        .await
    }

    async fn user_writes(
        &self,
        since: &WalReach,
        _exempt: &Exempt,
        _moving: &[String],
        _within: Duration,
    ) -> Result<Option<UserWrites>, ProviderError> {
        let since = since.lsn;
        self.ask("look who wrote", move |server, _| {
            let others = server.others_since(since, |record| !record.is_marked);
            let commits = others.map(|record| UserCommit {
                xid: u32::try_from(record.xid).unwrap_or(u32::MAX),
                databases: vec![record.database.clone()],
            });
            let commits = commits.collect();
            // Whoever has not ended is found by the commit, which comes later.
            let through = WalReach {
                lsn: server.position,
                ..WalReach::default()
            };
            Ok(Some(UserWrites {
                through,
                commits,
                ..UserWrites::default()
            }))
        })
        .await
    }
}
