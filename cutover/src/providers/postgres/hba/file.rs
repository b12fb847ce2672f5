//! The file itself: read, written and reloaded by SQL alone.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    super::{
        connection::user_in,
        control_sessions::ControlSessions,
        session::{Purpose, Session},
        statements::literal,
    },
    fenced, is_fenced,
};
use crate::ports::{AccessRules, ConnectionAttempt, ProviderError};

/// `pg_hba.conf` of a server at level `sql+hba`.
#[derive(Debug)]
pub(in crate::providers::postgres) struct HbaFile {
    control: Arc<ControlSessions>,
    /// The server's time before the last reload that was asked for here.
    reload_asked: Mutex<Option<String>>,
    /// When a stranger's connection tried the rules last.
    knocked: Mutex<Option<Instant>>,
}

impl HbaFile {
    pub(in crate::providers::postgres) fn new(control: Arc<ControlSessions>) -> Self {
        Self {
            control,
            reload_asked: Mutex::default(),
            knocked: Mutex::default(),
        }
    }

    /// The file's text at level `sql+hba`, checked for what could not be given back.
    pub(in crate::providers::postgres) async fn read(
        &self,
    ) -> Result<Option<String>, ProviderError> {
        if !self.control.rewrites_hba() {
            return Ok(None);
        }
        let text = self.text().await?;
        if is_fenced(&text) {
            return Err(self.control.unfit(
                "its pg_hba.conf is fenced already, and no record of the former rules is there; \
                 restore the file first",
            ));
        }
        self.fenced(&text).await?;
        Ok(Some(text))
    }

    /// How the file, or the rules that the server goes by, are not what the fence made of `former`.
    /// Nothing where it is left alone.
    pub(in crate::providers::postgres) async fn lifted(
        &self,
        former: &str,
    ) -> Result<Option<String>, ProviderError> {
        if !self.control.rewrites_hba() {
            return Ok(None);
        }
        if self.text().await? != self.fenced(former).await? {
            return Ok(Some("pg_hba.conf is not the one of the fence".to_owned()));
        }
        let due = |knocked: &Instant| knocked.elapsed() >= KNOCK;
        let knocked = *self.knocked.lock().unwrap_or_else(PoisonError::into_inner);
        if !knocked.as_ref().is_none_or(due) {
            return Ok(None);
        }
        let answer = self.knock().await?;
        *self.knocked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        match answer {
            ConnectionAttempt::Refused {
                by_access_rules: true,
                ..
            } => Ok(None),
            // It had no room to look at its rules.
            ConnectionAttempt::Unreachable { .. } => Err(self.not_tried(&answer)),
            ConnectionAttempt::Refused { ref sqlstate, .. } if !is_by_login(sqlstate) => {
                Err(self.not_tried(&answer))
            }
            ConnectionAttempt::Accepted | ConnectionAttempt::Refused { .. } => Ok(Some(format!(
                "the rules that it has loaded are not those of the fenced pg_hba.conf: a stranger was not \
                 turned away by them ({answer})"
            ))),
        }
    }

    fn not_tried(&self, answer: &ConnectionAttempt) -> ProviderError {
        ProviderError::Failed {
            server: self.control.server.name.clone(),
            what: "trying the rules that it has loaded".to_owned(),
            reason: answer.to_string(),
        }
    }

    /// A stranger's connection over TCP.
    async fn knock(&self) -> Result<ConnectionAttempt, ProviderError> {
        let (connector, server) = (&self.control.connector, &self.control.server);
        connector
            .try_connect(server, "postgres", Some(STRANGER))
            .await
    }

    /// Replaces `former` by the rules that admit the control sessions and replication only.
    pub(in crate::providers::postgres) async fn fence(
        &self,
        former: &str,
    ) -> Result<(), ProviderError> {
        self.write(&self.fenced(former).await?).await
    }

    async fn fenced(&self, former: &str) -> Result<String, ProviderError> {
        let row = self
            .control
            .postgres
            .row("read its own role", "SELECT session_user::text", &[])
            .await?;
        let mut roles: Vec<String> = vec![row.get(0)];
        roles.extend(self.control.server.replication.as_deref().and_then(user_in));
        roles.dedup();
        fenced(former, &roles).map_err(|error| {
            self.control
                .unfit(format!("its pg_hba.conf cannot be fenced: {error}"))
        })
    }

    /// Writes the file, one row a line, and reloads it once it reads as meant and without
    /// error. Neither the delimiter nor the quote can occur in a checked text, and an empty
    /// line is written as the null string, so that every byte is the text's own.
    pub(in crate::providers::postgres) async fn write(
        &self,
        text: &str,
    ) -> Result<(), ProviderError> {
        let what = "write pg_hba.conf";
        let path = self
            .control
            .postgres
            .row(what, "SELECT current_setting('hba_file')", &[])
            .await?;
        let path: String = path.get(0);
        let sql = format!(
            "COPY (SELECT nullif(line, '') FROM unnest(string_to_array({}, E'\\n')) \
               WITH ORDINALITY AS lines (line, number) ORDER BY number) TO {} \
             WITH (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01', ESCAPE E'\\x01', NULL ''); \
             SELECT coalesce(string_agg(format('line %s: %s', line_number, error), '; '), '') \
             FROM pg_hba_file_rules WHERE error IS NOT NULL",
            literal(text.strip_suffix('\n').unwrap_or(text)),
            literal(&path),
        );
        let errors = self.control.postgres.batch(what, &sql).await?.concat();
        if !errors.is_empty() || self.text().await? != text {
            return Err(ProviderError::Failed {
                server: self.control.server.name.clone(),
                what: what.to_owned(),
                reason: format!("the file does not read as it was written; {errors}"),
            });
        }
        self.reload().await?;
        Ok(())
    }

    /// The reload is asynchronous. A session that began after it tells when the rules it was
    /// let in by were loaded; and rules that refuse do so themselves, before the role or the
    /// database is looked at.
    pub(in crate::providers::postgres) async fn await_loaded(
        &self,
        rules: AccessRules,
        within: Duration,
    ) -> Result<(), ProviderError> {
        if !self.control.rewrites_hba() {
            return Ok(());
        }
        let deadline = Instant::now() + within;
        let mut found = "pg_hba.conf is the other one".to_owned();
        let fenced = is_fenced(&self.text().await?);
        if fenced == (rules == AccessRules::Fenced) {
            let asked = self.reload_asked();
            let asked = match asked {
                Some(asked) => asked,
                None => self.reload().await?,
            };
            loop {
                found = match self.not_loaded(&asked, rules).await? {
                    Some(found) => found,
                    None => return Ok(()),
                };
                if Instant::now() >= deadline {
                    break;
                }
                sleep(POLL).await;
            }
        }
        let what = match rules {
            AccessRules::Fenced => "the reload of the fenced pg_hba.conf",
            AccessRules::Former => "the reload of the former pg_hba.conf",
        };
        Err(self.control.timed_out(what, within, found))
    }

    async fn not_loaded(
        &self,
        asked: &str,
        rules: AccessRules,
    ) -> Result<Option<String>, ProviderError> {
        let (connector, server) = (&self.control.connector, &self.control.server);
        let fresh = Session::open(connector, server, "postgres", &Purpose::Recovery).await?;
        let loaded = fresh
            .row(
                "see whether pg_hba.conf is loaded",
                "SELECT pg_conf_load_time() >= $1::text::timestamptz",
                &[&asked],
            )
            .await?;
        if !loaded.get::<_, bool>(0) {
            return Ok(Some("it is not loaded yet".to_owned()));
        }
        if rules == AccessRules::Former {
            return Ok(None);
        }
        let answer = self.knock().await?;
        let rejected = matches!(
            answer,
            ConnectionAttempt::Refused {
                by_access_rules: true,
                ..
            }
        );
        Ok((!rejected).then(|| format!("a stranger's answer is {answer:?}")))
    }

    async fn text(&self) -> Result<String, ProviderError> {
        let sql = "SELECT pg_read_file(current_setting('hba_file'))";
        let row = self
            .control
            .postgres
            .row("read pg_hba.conf", sql, &[])
            .await?;
        Ok(row.get(0))
    }

    /// Asks for a reload and returns the server's time before that.
    async fn reload(&self) -> Result<String, ProviderError> {
        let sql = "SELECT clock_timestamp()::text; SELECT pg_reload_conf()";
        let rows = self
            .control
            .postgres
            .batch("reload pg_hba.conf", sql)
            .await?;
        let asked = rows.into_iter().next().unwrap_or_default();
        *self
            .reload_asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(asked.clone());
        Ok(asked)
    }

    fn reload_asked(&self) -> Option<String> {
        let asked = self.reload_asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a connection was refused for who it is. Rules that let it in ask for a role that exists,
/// or for a password.
fn is_by_login(sqlstate: &str) -> bool {
    sqlstate.starts_with("28")
}

/// How long the rules that were tried are taken for loaded. Each try is a line in the server's log.
const KNOCK: Duration = Duration::from_secs(5);
/// A role that no rule is kept for. It need not exist.
const STRANGER: &str = "pointsman_knock";
const POLL: Duration = Duration::from_millis(1);
