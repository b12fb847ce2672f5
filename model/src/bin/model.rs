//! Goes through the model within its bounds and writes `report.json`.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]
#![expect(clippy::disallowed_types, reason = "no clock is paused here")]

use std::{fs, path::PathBuf, process::ExitCode, thread, time::Instant};

use anyhow::{Context as _, Result, bail};
use pointsman_model::{Explored, Former, Pass, Promotion, Report, Troubles};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (bounds, path) = match arguments.as_slice() {
        [what, bounds] if what == "until-broken" => return until_broken(bounds),
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
    let mut value = serde_json::to_value(&report)?;
    // The table of faults stands beside it, and says itself which sources it is about.
    if let (Some(table), Some(fields)) = (Former::read(&path)?.table(), value.as_object_mut()) {
        fields.insert("faults".to_owned(), table.clone());
    }
    let text = serde_json::to_string_pretty(&value)?;
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    print(&report);
    println!("report: {}", path.display());
    Ok(if report.verdict == "holds" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Both kinds of promotion at once, each on a processor of its own.
fn run(bounds: Troubles) -> Report {
    let began = Instant::now();
    println!("bounds: {bounds:?}");
    let pass = |promotion| {
        let pass = Pass::of(promotion, bounds, 1);
        println!(
            "{promotion:?}: {} states, {:?} by stateright, depth {}, {} calm states, {:.0} s",
            pass.states, pass.states_by_stateright, pass.depth, pass.calm_states, pass.seconds
        );
        pass
    };
    let passes = thread::scope(|scope| {
        let passes = PROMOTIONS.map(|promotion| scope.spawn(move || pass(promotion)));
        passes.map(thread::ScopedJoinHandle::join)
    });
    let passes = passes.into_iter().flatten().collect();
    Report::new(bounds, passes, began.elapsed())
}

/// Prints the first promise that is found broken, and how it came to that.
fn until_broken(bounds: &str) -> Result<ExitCode> {
    let find = match bounds {
        "small" => |promotion| Explored::until_broken(promotion, Troubles::small()),
        "medium" => |promotion| Explored::until_broken(promotion, Troubles::medium()),
        "ends" => |promotion| Explored::of(promotion, Troubles::small()).broken(),
        _ => bail!("{USAGE}"),
    };
    for promotion in PROMOTIONS {
        let Some(broken) = find(promotion) else {
            continue;
        };
        println!("{}", broken.promise);
        for line in broken.trace.0 {
            println!("  {line}");
        }
        println!("after {} states", broken.states);
        return Ok(ExitCode::FAILURE);
    }
    println!("every promise holds");
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    for property in &report.properties {
        let verdict = match (property.holds, property.known) {
            (true, _) => "holds ",
            (false, Some(_)) => "known ",
            (false, None) => "BROKEN",
        };
        println!("{verdict} {}", property.promise);
        for line in property.traces.iter().flat_map(|trace| &trace.0) {
            println!("         {line}");
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
        if stuck.is_broken() {
            for line in &stuck.example.0 {
                println!("           {line}");
            }
        }
    }
    println!(
        "{} states, {} transitions, depth {}, complete: {}, {:.1} s, {:.1} s of processors, {} MB at most; \
         verdict: {}",
        report.states,
        report.transitions,
        report.depth,
        report.complete,
        report.seconds,
        report.cpu_seconds,
        report.peak_memory_mb,
        report.verdict
    );
}

const PROMOTIONS: [Promotion; 2] = [Promotion::Guarded, Promotion::Managed];

const USAGE: &str = "usage: model full|small REPORT, or model until-broken small|medium|ends";
