//! A sample of the seeds of `make simulate`.

use anyhow::{Result, ensure};
use pointsman_simulate::{Case, run, run_all};

#[test]
fn no_seed_of_a_sample_breaks_a_promise() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let cases: Vec<_> = (0..200).map(Case::of).collect();
    let report = run_all(&cases, threads, false)?;
    ensure!(report.violations == 0, "{:#?}", report.broken);
    ensure!(report.ends.len() >= 3, "{:?}", report.ends);
    ensure!(report.troubles.len() >= 12, "{:?}", report.troubles);
    Ok(())
}

#[test]
fn the_same_seed_is_the_same_run() -> Result<()> {
    for seed in [3, 77] {
        let (first, second) = (run(Case::of(seed), true)?, run(Case::of(seed), true)?);
        ensure!(first.trace == second.trace, "seed {seed} has two runs");
        ensure!(first.trace.len() > 100);
    }
    Ok(())
}
