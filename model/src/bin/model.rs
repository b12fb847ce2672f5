//! Goes through the model within its bounds and writes `report.json`.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]
#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use pointsman_model::{Pass, Promotion, Report, Troubles};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bounds, path) = match arguments.as_slice() {
        [bounds, path] => (bounds.as_str(), path),
        _ => bail!("{USAGE}"),
    };
    let report = match bounds {
        "full" => run(Troubles::full()),
        "small" => run(Troubles::small()),
        _ => bail!("{USAGE}"),
    };
    let path = PathBuf::from(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&report)?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    print(&report);
    println!("report: {}", path.display());
    Ok(if report.verdict == "holds" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run(bounds: Troubles) -> Report {
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("bounds: {bounds:?}");
    let mut passes = Vec::new();
    for promotion in [Promotion::Guarded, Promotion::Managed] {
        let pass = Pass::of(promotion, bounds, threads);
        println!(
            "{promotion:?}: {} states, {:?} by stateright, depth {}, {} calm states",
            pass.states, pass.states_by_stateright, pass.depth, pass.calm_states
        );
        passes.push(pass);
    }
    Report::new(bounds, passes, began.elapsed())
}

fn print(report: &Report) {
    for property in &report.properties {
        let verdict = match (property.holds, property.known) {
            (true, _) => "holds ",
            (false, Some(_)) => "known ",
            (false, None) => "BROKEN",
        };
        println!("{verdict} {}", property.promise);
        if property.known.is_none() {
            for line in property.traces.iter().flat_map(|trace| &trace.0) {
                println!("         {line}");
            }
        }
    }
    let ends = if report.reaches_end.holds {
        "holds "
    } else {
        "BROKEN"
    };
    println!("{ends} an end can be reached from everywhere while both servers come back");
    for stuck in &report.reaches_end.stuck {
        println!(
            "         no end from {} worlds{}: {}, gone for good: {}",
            stuck.worlds,
            if stuck.by_force { " but by force" } else { "" },
            stuck.state,
            stuck.gone
        );
        if stuck.gone == "none" && !stuck.by_force {
            for line in &stuck.example.0 {
                println!("           {line}");
            }
        }
    }
    println!(
        "{} states, depth {}, complete: {}, {:.1} s, {} MB at most; verdict: {}",
        report.states,
        report.depth,
        report.complete,
        report.seconds,
        report.peak_memory_mb,
        report.verdict
    );
}

const USAGE: &str = "usage: model full|small REPORT";
