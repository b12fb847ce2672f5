//! A switch there and back on each supported version of PostgreSQL, as superuser and as a cloud's control role,
//! seen from outside. What differs is in `docs/versions.md`.

mod row;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use pointsman_lab::{
    Lab, LabOptions,
    control_plane::Output,
    postgres::Hosting,
    workload::{Workload, WorkloadOptions, verify},
};

pub use self::row::{Row, WayBack};
use crate::{
    demo::NO_AUTOVACUUM,
    migration::{Follower, MigrationStatus},
};

/// A server's version and who runs it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Case {
    /// The major version.
    pub major: u32,
    /// Who runs the pair, and so whether the control role is a superuser.
    pub hosting: Hosting,
}

/// One case while it runs.
struct Running {
    // Ended in this order: the follower would report that the lab went away.
    follower: Follower,
    workload: Workload,
    lab: Lab,
}

impl Case {
    /// Every case.
    pub fn all() -> impl Iterator<Item = Self> {
        (14..=18).flat_map(|major| {
            [Hosting::SelfManaged, Hosting::Managed].map(|hosting| Self { major, hosting })
        })
    }

    /// The strongest level that its control role can keep up.
    fn fence(self) -> &'static str {
        match self.hosting {
            Hosting::SelfManaged => "sql+hba",
            Hosting::Managed => "sql",
        }
    }

    /// Switches there under load, and back if there is a way.
    ///
    /// # Errors
    /// Something was lost, or did not happen at all.
    pub async fn run(self) -> anyhow::Result<Row> {
        let running = Running::start(self).await?;
        let outcome = running.there_and_back(self).await;
        outcome.with_context(|| format!("PostgreSQL {}, {:?}", self.major, self.hosting))
    }
}

impl Running {
    async fn start(case: Case) -> anyhow::Result<Self> {
        let options = LabOptions {
            sidecars: 1,
            databases: vec!["orders".to_owned()],
            hosting: case.hosting,
            major: Some(case.major),
            server_settings: match case.hosting {
                Hosting::SelfManaged => String::new(),
                Hosting::Managed => NO_AUTOVACUUM.to_owned(),
            },
            fence: case.fence().to_owned(),
            ..LabOptions::default()
        };
        let lab = Lab::start(options).await.context("starting the lab")?;
        let wanted = WorkloadOptions {
            writers: 4,
            readers: 2,
            ..WorkloadOptions::through_sidecars(&lab)?
        };
        let workload = Workload::start(&wanted)?;
        workload.more_acked(WARM, SOON).await?;
        let create = ["create", NAME, "--source", "blue", "--target", "green"];
        migration(&lab, &create).await?;
        let follower = Follower::start(&lab.control_plane, NAME, |_| ())?;
        Ok(Self {
            lab,
            workload,
            follower,
        })
    }

    async fn there_and_back(mut self, case: Case) -> anyhow::Result<Row> {
        let checks = self.verb(&["preflight", NAME]).await?;
        let blocks: Vec<_> = checks
            .stdout
            .lines()
            .filter(|line| line.contains(" BLOCK "))
            .collect();
        ensure!(
            matches!(checks.code, Some(PASSED | WARNED)),
            "preflight blocks it: {} {}",
            blocks.join("; "),
            checks.stderr.trim()
        );
        migration(&self.lab, &["start", NAME]).await?;
        let asked = self.workload.clock().now();
        migration(&self.lab, &["switch", NAME]).await?;
        let target = self.lab.pair.target.address().port();
        self.workload.all_through(target, asked, SOON).await?;
        self.workload.more_acked(WARM, SOON).await?;

        // A way back needs the reverse stream, which is proven or not to be had.
        let decided = |status: &MigrationStatus| {
            status.state == "baking"
                && matches!(&*status.reverse_stream, "proven" | "broken" | "none")
        };
        let status = self
            .follower
            .until("the reverse stream", LONG, decided)
            .await?;
        let rollback = self.verb(&["rollback", NAME]).await?;
        let (way_back, serves) = match rollback.code {
            Some(0) => (WayBack::Lossless, self.lab.pair.source.clone()),
            // Any other failure is no finding about a version.
            Some(1) if rollback.stderr.contains("--accept-loss") => {
                (WayBack::None, self.lab.pair.target.clone())
            }
            _ => bail!("the rollback failed: {}", rollback.stderr),
        };
        let asked = self.workload.clock().now();
        let port = serves.address().port();
        self.workload.all_through(port, asked, SOON).await?;
        let record = self.workload.stop(SOON).await?;
        let audit = verify::check(&record, &serves).await?;
        ensure!(audit.is_clean(), "{audit}");
        Ok(Row::seen(case, &status, way_back))
    }

    async fn verb(&self, verb: &[&str]) -> anyhow::Result<Output> {
        let verb = [&["migration"], verb].concat();
        self.lab.control_plane.cli(&verb).await
    }
}

async fn migration(lab: &Lab, verb: &[&str]) -> anyhow::Result<String> {
    let verb = [&["migration"], verb].concat();
    lab.control_plane.cli_ok(&verb).await
}

/// The head of the table in `docs/versions.md`.
pub const HEADING: &str = "\
| PostgreSQL | control role | fence | proof that nobody wrote | way back after the first write |
|---|---|---|---|---|";

const NAME: &str = "there-and-back";
const WARM: u64 = 50;
/// Exit codes of `migration preflight`.
const PASSED: i32 = 0;
const WARNED: i32 = 2;
const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(90);
