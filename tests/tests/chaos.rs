//! A sample of `make chaos`: one round of a seed of its own.

use anyhow::{Result, ensure};
use pointsman_tests::chaos::{self, Length};

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_kills_and_cuts_keeps_every_promise() -> Result<()> {
    let report = chaos::run(Length::Rounds(1), SEED, |_| (), |_| Ok(())).await?;
    ensure!(report.holds(), "{report:#?}");
    Ok(())
}

/// Its first round kills the control plane, the source and a sidecar, and cuts the control plane off from the
/// source.
const SEED: u64 = 5;
