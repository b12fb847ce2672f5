//! Starting, stopping, crashing and freezing a server.

use std::{
    fs,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use super::{
    heartbeat,
    hosting::Hosting,
    server::{Parts, PostgresServer},
};
use crate::process::{self, Launch, Process, Signal};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// How often a server that is coming up or going down is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The language of the messages once `lc_messages` is another than `C`: nothing may depend on
/// English ones.
const OTHER_LANGUAGE: &str = "de";

impl PostgresServer {
    /// Starts the server and waits until it accepts connections.
    pub async fn start(&self) -> Result<()> {
        let Parts {
            name,
            bin,
            data,
            log,
            user,
            ..
        } = self.parts();
        if self.process().is_some_and(|process| process.is_running()) {
            bail!("{name} runs already");
        }
        let process = Launch::new(name, bin.join("postgres"), log.clone())
            .args(["-D".as_ref(), data.as_os_str()])
            .user(*user)
            .environment(&[("LANGUAGE".into(), OTHER_LANGUAGE.into())])
            .end_signal(Signal::Quit)
            .start()?;
        let process = Arc::new(process);
        *self.running() = Some(Arc::clone(&process));
        self.accepts_connections(&process).await
    }

    /// The process number of the postmaster, when the server runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process().map(|process| process.pid())
    }

    fn process(&self) -> Option<Arc<Process>> {
        self.running().clone()
    }

    fn running(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        let process = self.parts().process.lock();
        process.unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on its superuser writes by itself, where it is a managed one.
    pub(crate) fn let_superuser_write(&self) {
        if self.parts().access.hosting == Hosting::Managed {
            let heartbeat = self.parts().heartbeat.lock();
            *heartbeat.unwrap_or_else(PoisonError::into_inner) =
                Some(heartbeat::start(self.conninfo("rdsadmin")));
        }
    }

    async fn accepts_connections(&self, process: &Process) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let Err(refusal) = self.client("postgres").await else {
                return Ok(());
            };
            if !process.is_running() {
                bail!(
                    "{} ended instead of starting\n{}",
                    self.parts().name,
                    process.log_tail()
                );
            }
            if Instant::now() > deadline {
                let tail = process.log_tail();
                return Err(refusal.context(format!(
                    "{} accepts no connection {START_DEADLINE:?} after its start\n{tail}",
                    self.parts().name
                )));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Shuts the server down in order (fast mode).
    pub async fn stop(&self) -> Result<()> {
        let process = self.running().take();
        if let Some(process) = process {
            process.signal(Signal::Int);
            process.ended(STOP_DEADLINE).await?;
        }
        Ok(())
    }

    /// Ends the server as a loss of power would, every process at once (`kill -9`), and
    /// waits until all are gone. [`Self::start`] brings it back.
    pub async fn crash(&self) -> Result<()> {
        let process = self.running().take();
        if let Some(process) = process {
            // Frozen first, so that the postmaster starts nobody while it is counted.
            process.signal(Signal::Stop);
            let family = process::family(process.pid());
            process::signal_all(Signal::Kill, &family);
            process.ended(STOP_DEADLINE).await?;
            let deadline = Instant::now() + STOP_DEADLINE;
            while family.iter().any(|pid| process::is_alive(*pid)) {
                if Instant::now() > deadline {
                    bail!("{}: processes outlived kill -9", self.parts().name);
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Freezes every process of the server: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        if let Some(process) = self.process() {
            process.signal(Signal::Stop);
            process::signal_all(Signal::Stop, &process::family(process.pid()));
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        if let Some(process) = self.process() {
            go_on(&process);
        }
    }

    /// Its whole log.
    pub fn log(&self) -> Result<String> {
        let path = &self.parts().log;
        fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        process::tail(&self.parts().log)
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        // Frozen backends would outlive an immediate shutdown.
        let process = self.process.get_mut();
        let process = process.unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = process {
            go_on(process);
        }
    }
}

fn go_on(process: &Process) {
    process::signal_all(Signal::Cont, &process::family(process.pid()));
}
