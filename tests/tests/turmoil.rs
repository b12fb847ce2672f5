//! A fleet that comes and goes while a server moves there and back under load.

#[path = "turmoil/churn.rs"]
mod churn;
#[path = "turmoil/envoys.rs"]
mod envoys;
#[path = "turmoil/judge.rs"]
mod judge;
#[path = "turmoil/outage.rs"]
mod outage;
#[path = "turmoil/reset.rs"]
mod reset;
#[path = "turmoil/rounds.rs"]
mod rounds;
#[path = "turmoil/stage.rs"]
mod stage;
#[path = "turmoil/streams.rs"]
mod streams;

use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use pointsman_lab::result_file::ResultFile;

use self::judge::Report;

/// How large the turmoil is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Members that are real Envoys.
    pub(crate) envoys: usize,
    /// Members that are streams of the protocol without an Envoy.
    pub(crate) streams: usize,
    /// Members that go each second, each replaced by another.
    pub(crate) each_second: u32,
    /// Switches, each there and back.
    pub(crate) rounds: usize,
}

const SAMPLE: Size = Size {
    envoys: 4,
    streams: 12,
    // More than four in 1.5 s would be awaited longer: something on their way might have closed them.
    each_second: 1,
    rounds: 1,
};

/// 200 members, 40 of them Envoys unless `POINTSMAN_TURMOIL_ENVOYS` says another number.
fn whole() -> Result<Size> {
    let envoys = match env::var("POINTSMAN_TURMOIL_ENVOYS") {
        Ok(number) => number
            .parse()
            .with_context(|| format!("POINTSMAN_TURMOIL_ENVOYS={number}: allowed: 1 to 200"))?,
        Err(_) => 40,
    };
    ensure!(
        (1..=MEMBERS).contains(&envoys),
        "1 to {MEMBERS} Envoys, not {envoys}"
    );
    let limit = fs::read_to_string(INOTIFY)?;
    let limit: usize = limit.trim().parse()?;
    ensure!(
        limit >= envoys * WATCHERS,
        "{INOTIFY} is {limit}, and {envoys} Envoys that follow their certificates need {}: raise it, or \
         set POINTSMAN_TURMOIL_ENVOYS",
        envoys * WATCHERS
    );
    Ok(Size {
        envoys,
        streams: MEMBERS - envoys,
        each_second: 5,
        rounds: 20,
    })
}

const MEMBERS: usize = 200;
/// How many inotify instances one user may have.
const INOTIFY: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Of one Envoy: its two files, and the folders of the certificate and of the authorities.
const WATCHERS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_through_a_switch_and_are_neither_a_veto_nor_a_hole() -> Result<()> {
    let report = rounds::run(SAMPLE).await?;
    ensure!(report.kept(), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour: make fleet-turmoil"]
async fn two_hundred_members_come_and_go_through_twenty_switches() -> Result<()> {
    let size = whole()?;
    let file = ResultFile::fresh("../target/fleet-turmoil/report.json")?;
    let report: Report = rounds::run(size).await?;
    file.write(&report)?;
    ensure!(report.kept(), "{report:#?}");
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "what a person reads of a run, with `--nocapture` or when it fails"
)]
pub(crate) fn tell(text: &str) {
    println!("{text}");
}
