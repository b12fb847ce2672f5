//! The load: thousands of delta ADS streams, each on its own connection, on two threads.
//!
//! Every response is looked into, must bring the newest content, and is acknowledged at once.
//! The process is led by lines:
//!
//! ```text
//! connect ADDRESS COUNT CONTENT   opens streams        synced BEGAN ENDED
//! round CONTENT COUNTED           awaits new content   ready, then received MEDIAN P99 LAST
//! storm                           drops and reopens    synced BEGAN ENDED
//! stall FROM                      stops reading        stalled
//! resume                          reads again          resumed
//! stuck ADDRESS COUNT             never reads          stuck
//! ```
//!
//! Times are nanoseconds of the machine's monotonic clock.

mod connection;
mod load;
mod reply;
mod share;
mod transport;
mod worker;

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::Context;

use self::reply::Reply;
use self::share::Share;
use self::worker::Worker;
use super::certificates;
use super::control::{answer, listen, open_many_files};

/// Runs the load until the standard input ends; over mutual TLS, if there is a folder with
/// certificates.
///
/// # Errors
/// A stream broke or brought something wrong. The message goes to the standard output, too.
pub fn run(certificates: Option<&Path>) -> anyhow::Result<()> {
    open_many_files()?;
    let tls = certificates.map(certificates::client).transpose()?;
    let (sender, replies) = mpsc::channel();
    let workers = Share::all().map(|share| Worker::start(share, tls.clone(), sender.clone()));
    let workers = workers.collect::<anyhow::Result<Vec<_>>>()?;
    let (line_sender, lines) = mpsc::channel();
    listen(move |line| line_sender.send(line).is_ok());
    let ended = lead(&workers, &lines, &replies);
    if let Err(error) = &ended {
        answer(&format!("broken {error:#}"))?;
    }
    ended
}

/// Gives every line to every worker, and answers once all have replied.
fn lead(
    workers: &[Worker],
    lines: &Receiver<String>,
    replies: &Receiver<anyhow::Result<Reply>>,
) -> anyhow::Result<()> {
    for line in lines {
        for worker in workers {
            worker.tell(&line)?;
        }
        loop {
            let all = workers
                .iter()
                .map(|_| replies.recv().context("nobody works")?);
            let all = all.collect::<anyhow::Result<Vec<_>>>()?;
            let more = all.iter().all(|reply| matches!(reply, Reply::Ready));
            answer(&Reply::by_all(all)?)?;
            if !more {
                break;
            }
        }
    }
    Ok(())
}

type ReplySender = Sender<anyhow::Result<Reply>>;
