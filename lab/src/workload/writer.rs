//! A client that numbers its writes and never loses track of one.

use anyhow::Context;
use tokio::select;
use tokio::time::{Interval, sleep};
use tokio_postgres::types::Type;

use super::client::{Client, NoAnswer, Parameter, READ_ONLY, server_port};
use super::clock::Moment;
use super::record::{EventKind, Failure, FailureClass, Proof};
use super::session::Session;

/// Writes number after number until it is told to stop.
#[derive(Debug)]
pub(super) struct Writer {
    client: Client,
    session: Option<Session>,
}

/// Where a write stands between attempts.
struct Pending {
    number: i64,
    began: Moment,
    in_doubt: bool,
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            session: None,
        }
    }

    /// Runs until it is told to stop; a write that is under way then is brought to its end, as long as that may take.
    pub(super) async fn run(mut self, mut pace: Interval) -> anyhow::Result<()> {
        let (stop, give_up) = (self.client.stop.clone(), self.client.give_up.clone());
        let mut number = 1;
        loop {
            select! {
                biased;
                () = stop.cancelled() => break,
                _ = pace.tick() => {}
            }
            let began = self.client.now();
            select! {
                biased;
                () = give_up.cancelled() => {
                    self.leave(number);
                    return Ok(());
                }
                written = self.write(Pending { number, began, in_doubt: false }) => written?,
            }
            number += 1;
        }
        self.end_session().await;
        Ok(())
    }

    /// Tries until the write is known to be committed.
    async fn write(&mut self, mut pending: Pending) -> anyhow::Result<()> {
        let mut failures = 0;
        loop {
            let failure = match self.attempt(&mut pending).await? {
                Ok((server, proof)) => {
                    self.acked(&pending, server, proof);
                    break;
                }
                Err(failure) => failure,
            };
            let class = failure.class;
            let number = Some(pending.number);
            self.client
                .happened(EventKind::Failed(Failure { number, ..failure }));
            sleep(self.client.manners.pause(failures, class)).await;
            failures += 1;
        }
        if !self.client.keeps_session() {
            self.end_session().await;
        }
        Ok(())
    }

    async fn attempt(&mut self, pending: &mut Pending) -> anyhow::Result<Attempt> {
        let session = match self.client.session(self.session.take()).await {
            Ok(session) => session,
            Err(failure) => return Ok(Err(failure)),
        };
        if pending.in_doubt {
            match self.look_up(&session, pending.number).await {
                Ok(Some(server)) => {
                    self.session = Some(session);
                    return Ok(Ok((server, Proof::Lookup)));
                }
                Ok(None) => pending.in_doubt = false,
                Err(no_answer) => return Ok(Err(self.refused(session, no_answer).await)),
            }
        }
        let (client, number) = (self.client.number(), pending.number);
        let parameters: [Parameter<'_>; 2] = [(&client, Type::INT4), (&number, Type::INT8)];
        match self.client.ask(&session, INSERT, &parameters).await {
            Ok(rows) => {
                let server = server_port(&rows).context("the INSERT's answer")?;
                self.session = Some(session);
                Ok(Ok((server, Proof::Reply)))
            }
            Err(no_answer @ NoAnswer::Refused(_)) => {
                Ok(Err(self.refused(session, no_answer).await))
            }
            Err(NoAnswer::Cut(failure)) => {
                pending.in_doubt = true;
                let class = FailureClass::InDoubt;
                Ok(Err(Failure { class, ..failure }))
            }
        }
    }

    /// Asks the present writer whether a write is there.
    ///
    /// A server may still be at work on a statement whose client is gone. Each INSERT holds an advisory lock of its
    /// client until it has ended, so a look-up that waits for that lock sees the outcome.
    async fn look_up(&self, session: &Session, number: i64) -> Result<Option<u16>, NoAnswer> {
        let client = self.client.number();
        let settled: [Parameter<'_>; 1] = [(&client, Type::INT4)];
        self.client.ask(session, SETTLE, &settled).await?;
        let key: [Parameter<'_>; 2] = [(&client, Type::INT4), (&number, Type::INT8)];
        let rows = self.client.ask(session, LOOK_UP, &key).await?;
        Ok(server_port(&rows).ok())
    }

    async fn refused(&mut self, session: Session, no_answer: NoAnswer) -> Failure {
        let lives = matches!(no_answer, NoAnswer::Refused(_));
        let failure = no_answer.into_failure();
        if lives {
            self.session = Some(session);
            if !self.client.keeps_session() || failure.sqlstate.as_deref() == Some(READ_ONLY) {
                self.end_session().await;
            }
        }
        failure
    }

    fn acked(&self, pending: &Pending, server: u16, proof: Proof) {
        let Pending { number, began, .. } = *pending;
        self.client.happened(EventKind::Acked {
            number,
            server,
            began,
            proof,
        });
        self.client.acked.send_modify(|acked| *acked += 1);
    }

    /// Nobody will learn any more what became of this write.
    fn leave(&self, number: i64) {
        self.client.happened(EventKind::Failed(Failure {
            class: FailureClass::InDoubt,
            sqlstate: None,
            message: "given up at the end of the run".to_owned(),
            number: Some(number),
        }));
    }

    async fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }
}

/// An attempt's outcome: which server confirmed the write and how, or what went wrong.
type Attempt = Result<(u16, Proof), Failure>;

const INSERT: &str = "INSERT INTO writes (client, number) \
    SELECT $1, $2 FROM pg_advisory_xact_lock(20557, $1) RETURNING inet_server_port()";
const SETTLE: &str = "SELECT pg_advisory_xact_lock(20557, $1)";
const LOOK_UP: &str =
    "SELECT inet_server_port() FROM writes WHERE client = $1 AND number = $2 LIMIT 1";
