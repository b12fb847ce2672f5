//! On which servers the demo runs.

use std::time::Duration;

use pointsman_lab::postgres::Hosting;
use pointsman_lab::scratch::Storage;
use pointsman_lab::{Lab, LabOptions};

/// On which servers the demo runs.
#[derive(Debug, Clone, Copy, Eq, PartialEq)]
pub enum Setting {
    /// Their users run them, and Pointsman is a superuser.
    SelfManaged,
    /// Like Amazon RDS: no superuser, TLS alone, and an API that promotes.
    Managed,
}

impl Setting {
    /// Where the report goes.
    #[must_use]
    pub fn report(self) -> &'static str {
        match self {
            Self::SelfManaged => "target/demo/report.json",
            Self::Managed => "target/demo-managed/report.json",
        }
    }

    pub(super) fn options(self) -> LabOptions {
        let options = LabOptions {
            storage: Storage::Disk,
            ..LabOptions::default()
        };
        match self {
            Self::SelfManaged => options,
            Self::Managed => LabOptions {
                hosting: Hosting::Managed,
                major: Some(17),
                tls: true,
                promotion_takes: PROMOTION,
                server_settings: NO_AUTOVACUUM.to_owned(),
                fence: "sql".to_owned(),
                ..options
            },
        }
    }

    /// What is special about the servers, for a person.
    pub(super) fn introduce(self, lab: &Lab) -> Option<String> {
        match self {
            Self::SelfManaged => None,
            Self::Managed => Some(format!(
                "both are PostgreSQL 17 as a cloud runs it: Pointsman is {}, no superuser; every connection is TLS and \
                 verifies the server's name; green is promoted by an API, which takes {PROMOTION:?} and restarts it; autovacuum is \
                 off for the move",
                lab.pair.source.hosting().control_role()
            )),
        }
    }
}

/// A managed server's owner writes in its own database at any time, and the proof by transaction ids tells these writes
/// from others only where autovacuum does not run.
pub const NO_AUTOVACUUM: &str = "autovacuum = off\n";

/// A cloud takes minutes. This is short enough for clients to be held instead of refused.
const PROMOTION: Duration = Duration::from_secs(1);
