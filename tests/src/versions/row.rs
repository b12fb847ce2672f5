//! What a switch showed of one version and one control role.

use std::fmt;

use pointsman_lab::postgres::Hosting;
use serde::Serialize;

use super::Case;
use crate::migration::MigrationStatus;

/// One line of the table.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// The major version of PostgreSQL.
    pub postgres: u32,
    /// `superuser` or `no superuser`.
    pub control_role: &'static str,
    /// The level of the fence.
    pub fence: String,
    /// By what the proof stands that nobody wrote behind the fence.
    pub proof: String,
    /// Back to the source after clients have written on the target.
    pub way_back: WayBack,
}

/// Whether there is a way back after the first write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WayBack {
    /// It was gone, and nothing was lost.
    Lossless,
    /// A rollback is refused.
    None,
}

impl fmt::Display for WayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lossless => "lossless",
            Self::None => "none",
        })
    }
}

impl Row {
    pub(super) fn seen(case: Case, status: &MigrationStatus, way_back: WayBack) -> Self {
        Self {
            postgres: case.major,
            control_role: control_role(case.hosting),
            fence: case.fence().to_owned(),
            proof: proof(status).unwrap_or_else(|| "not said".to_owned()),
            way_back,
        }
    }

    /// What `docs/versions.md` promises of `case`.
    #[must_use]
    pub fn expected(case: Case) -> Self {
        let Case { major, hosting } = case;
        let superuser = hosting == Hosting::SelfManaged;
        let proof = match superuser && major >= PG_WALINSPECT {
            true => "WAL records",
            false => "transaction ids",
        };
        let way_back = match superuser || major >= PG_CREATE_SUBSCRIPTION {
            true => WayBack::Lossless,
            false => WayBack::None,
        };
        Self {
            postgres: major,
            control_role: control_role(hosting),
            fence: case.fence().to_owned(),
            proof: proof.to_owned(),
            way_back,
        }
    }
}

/// The first version with this extension. A control role without superuser cannot make it.
const PG_WALINSPECT: u32 = 15;

/// The first version with this role.
const PG_CREATE_SUBSCRIPTION: u32 = 16;

/// As a row of the table in `docs/versions.md`.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            postgres,
            control_role,
            fence,
            proof,
            way_back,
        } = self;
        write!(
            f,
            "| {postgres} | {control_role} | `{fence}` | {proof} | {way_back} |"
        )
    }
}

fn control_role(hosting: Hosting) -> &'static str {
    match hosting {
        Hosting::SelfManaged => "superuser",
        Hosting::Managed => "no superuser",
    }
}

/// What the record of the first switch says of the proof on the source.
fn proof(status: &MigrationStatus) -> Option<String> {
    let method = |entry: &crate::migration::Entry| {
        let method = entry.evidence.pointer("/proof/method")?;
        method.as_str().map(|method| method.replace('_', " "))
    };
    let method = status.switch(1).find_map(method)?;
    Some(method.replace("wal", "WAL"))
}
