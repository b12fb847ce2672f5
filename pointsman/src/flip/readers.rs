//! Sends a database's readers elsewhere: after a migration they are all with the writer.

use std::time::Duration;

use pointsman_catalog::{DatabaseName, RouteChange, Server, ServerName};
use pointsman_cutover::ports::{
    BarrierPolicy, Convergence, DatabaseProvider, Observation, Publication,
};

use super::{DEADLINE, Flip, FlipError, known, served_by};

impl Flip {
    /// Sends the readers of `database` to `to` and waits for the fleet. Each of them must be the writer, or
    /// a standby that has replayed what the writer had written when this began.
    ///
    /// # Errors
    /// Nothing was changed, see [`FlipError`].
    pub(crate) async fn readers(
        &self,
        database: &DatabaseName,
        to: &[ServerName],
        force: bool,
    ) -> Result<(Publication, Convergence), FlipError> {
        self.catalog.database(database).await?;
        let mut readers = Vec::with_capacity(to.len());
        for name in to {
            readers.push(self.catalog.server(name).await?);
        }
        let routes = self.catalog.routes().await?.remove(database);
        let writers = routes
            .as_ref()
            .map_or_else(Vec::new, |routes| known(&routes.writer));
        let former = routes.map_or_else(Vec::new, |routes| known(&routes.reader));
        self.refuse_while_migrating(writers.iter().chain(&former).chain(to), force)?;
        if !force {
            self.prove_readers(database, &writers, &readers).await?;
        }
        let change = RouteChange {
            writer: None,
            reader: Some(served_by(to, former)),
        };
        let changes = [(database.clone(), change)].into();
        let publication = self.data_plane.publish(&changes).await?;
        let policy = BarrierPolicy::AllRegistered;
        let convergence = self
            .data_plane
            .converge(&publication, policy, self.barrier_deadline)
            .await;
        Ok((publication, convergence))
    }

    async fn prove_readers(
        &self,
        database: &DatabaseName,
        writers: &[ServerName],
        readers: &[Server],
    ) -> Result<(), FlipError> {
        let not_proven = |to: &ServerName, reason: String| FlipError::ReaderNotProven {
            database: database.clone(),
            to: to.clone(),
            reason,
        };
        for reader in readers
            .iter()
            .filter(|reader| !writers.contains(&reader.name))
        {
            let Some(writer) = writers.first() else {
                let reason = format!("{database} has no writer that it could follow");
                return Err(not_proven(&reader.name, reason));
            };
            let writer = self.catalog.server(writer).await?;
            let follows = self.follows(&writer, reader);
            let follows = self.clock.timeout(DEADLINE, follows).await;
            let reason = match follows {
                Ok(Ok(())) => continue,
                Ok(Err(reason)) => reason,
                Err(_elapsed) => format!(
                    "within {DEADLINE:?} it did not replay what {} had written",
                    writer.name
                ),
            };
            return Err(not_proven(&reader.name, reason));
        }
        Ok(())
    }

    /// Returns once `reader` has replayed what `writer` has written by now.
    async fn follows(&self, writer: &Server, reader: &Server) -> Result<(), String> {
        let writing = self.observed(writer).await?;
        let replaying = self.observed(reader).await?;
        if let Some(fault) = fault(&writer.name, &writing, &replaying) {
            return Err(fault);
        }
        let provider = self.provider(writer)?;
        let written = provider.flush(writer).await;
        let written = written.map_err(|error| error.to_string())?;
        loop {
            let replayed = self.observed(reader).await?;
            if let Some(fault) = fault(&writer.name, &writing, &replayed) {
                return Err(fault);
            }
            if replayed.position >= written {
                return Ok(());
            }
            self.clock.sleep(LOOK).await;
        }
    }

    fn provider(&self, server: &Server) -> Result<&dyn DatabaseProvider, String> {
        let provider = self.providers.of(server);
        provider.map_err(|error| error.to_string())
    }

    async fn observed(&self, server: &Server) -> Result<Observation, String> {
        let observed = self.provider(server)?.observe(server).await;
        observed.map_err(|error| error.to_string())
    }
}

/// Why a server is no standby of `writer`, however much it replays.
fn fault(writer: &ServerName, written: &Observation, reader: &Observation) -> Option<String> {
    if written.in_recovery {
        return Some(format!("{writer}, which serves now, is itself a standby"));
    }
    if !reader.in_recovery {
        return Some("it is a primary".to_owned());
    }
    if reader.system_identifier != written.system_identifier {
        return Some(format!("it is no physical copy of {writer}"));
    }
    (reader.timeline != written.timeline).then(|| {
        format!(
            "its last checkpoint is on timeline {}, and {writer} is on timeline {}; if it was rebuilt \
             just now, run CHECKPOINT on {writer} and then there",
            reader.timeline, written.timeline
        )
    })
}

const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use pointsman_catalog::UnixMillis;

    use super::*;

    fn observed(in_recovery: bool, timeline: u32) -> Observation {
        Observation {
            system_identifier: "7300".to_owned(),
            timeline,
            in_recovery,
            position: "0/100".parse().unwrap(),
            replayed: None,
            version: 170_000,
            clock: UnixMillis(0),
            databases: Vec::new(),
        }
    }

    #[test]
    fn only_a_standby_of_the_writer_is_a_reader() {
        let green = ServerName::new("green").unwrap();
        let writer = observed(false, 2);
        assert_eq!(fault(&green, &writer, &observed(true, 2)), None);
        let says = |reader: &Observation| fault(&green, &writer, reader).unwrap();
        assert_eq!(says(&observed(false, 1)), "it is a primary");
        assert!(says(&observed(true, 1)).contains("timeline 1"));
        let stranger = Observation {
            system_identifier: "7400".to_owned(),
            ..observed(true, 2)
        };
        assert_eq!(says(&stranger), "it is no physical copy of green");
    }
}
