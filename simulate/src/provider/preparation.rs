use async_trait::async_trait;
use pointsman_cutover::ports::{Exempt, Preparation, ProviderError};

use crate::{network::failed, tables::Change};

use super::control::Control;

impl Control {
    async fn define(
        &self,
        what: &'static str,
        datname: Option<&str>,
        changes: Vec<Change>,
    ) -> Result<(), ProviderError> {
        let database = datname.unwrap_or("postgres").to_owned();
        let act = move |server: &mut crate::server::Server| {
            if server.in_recovery {
                return Err(failed(&server.name, what, "it is a standby (25006)"));
            }
            server.commit(&database, changes);
            Ok(())
        };
        match datname {
            Some(datname) => self.ask_in(datname, what, act).await,
            None => self.ask(what, move |server, _| act(server)).await,
        }
    }
}

#[async_trait]
impl Preparation for Control {
    async fn prepare(&self, datnames: &[String]) -> Result<Exempt, ProviderError> {
        self.define("make the fence table", None, vec![Change::MakeFenceTable])
            .await?;
        for datname in datnames {
            let database = || datname.clone();
            let changes = vec![
                Change::MakeProbe {
                    database: database(),
                },
                Change::Publish {
                    database: database(),
                },
            ];
            self.define(
                "make the probe table and publication",
                Some(datname),
                changes,
            )
            .await?;
        }
        Ok(Exempt::default())
    }

    async fn complete(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            self.ask_in(datname, "complete the publication", |_| Ok(()))
                .await?;
        }
        Ok(())
    }

    async fn unprepare(&self, datnames: &[String]) -> Result<(), ProviderError> {
        for datname in datnames {
            let changes = vec![Change::TakeDown {
                database: datname.clone(),
            }];
            self.define("take the publication down", Some(datname), changes)
                .await?;
        }
        self.define(
            "take the fence table down",
            None,
            vec![Change::DropFenceTable],
        )
        .await
    }
}
