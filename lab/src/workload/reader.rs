//! A client that reads over the readers' route.

use anyhow::Context;
use tokio::select;
use tokio::time::{Interval, sleep};

use super::client::{Client, NoAnswer, server_port};
use super::record::EventKind;
use super::session::Session;

/// Reads again and again until it is told to stop.
#[derive(Debug)]
pub(super) struct Reader {
    client: Client,
    session: Option<Session>,
}

impl Reader {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            session: None,
        }
    }

    /// Runs until it is told to stop; nobody waits for an answer that is still out then.
    pub(super) async fn run(mut self, mut pace: Interval) -> anyhow::Result<()> {
        let stop = self.client.stop.clone();
        loop {
            select! {
                biased;
                () = stop.cancelled() => break,
                _ = pace.tick() => {}
            }
            select! {
                biased;
                () = stop.cancelled() => break,
                read = self.read() => read?,
            }
        }
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        Ok(())
    }

    /// Tries until an answer comes.
    async fn read(&mut self) -> anyhow::Result<()> {
        let began = self.client.now();
        let mut failures = 0;
        loop {
            let failure = match self.client.session(self.session.take()).await {
                Err(failure) => failure,
                Ok(session) => match self.client.ask(&session, READ, &[]).await {
                    Ok(rows) => {
                        let server = server_port(&rows).context("the reader's answer")?;
                        self.client.happened(EventKind::Read { server, began });
                        self.keep_or_end(session).await;
                        return Ok(());
                    }
                    Err(NoAnswer::Refused(failure)) => {
                        self.keep_or_end(session).await;
                        failure
                    }
                    // Keeping it would count the same loss once more.
                    Err(NoAnswer::Cut(failure)) => failure,
                },
            };
            let class = failure.class;
            self.client.happened(EventKind::Failed(failure));
            sleep(self.client.manners.pause(failures, class)).await;
            failures += 1;
        }
    }

    async fn keep_or_end(&mut self, session: Session) {
        if self.client.keeps_session() && !session.is_closed() {
            self.session = Some(session);
        } else {
            session.close().await;
        }
    }
}

/// The newest row by primary key: a real read, and as cheap at the end of a run as at its beginning.
const READ: &str =
    "SELECT inet_server_port(), (SELECT number FROM writes ORDER BY id DESC LIMIT 1)";
