//! What the demo tells a person while it runs.

use std::io::{Write, stdout};

use serde_json::Value;
use tokio::time::Instant;

use crate::migration::{Entry, ms};

/// Prints lines with the time since the demo began.
#[derive(Debug, Clone, Copy)]
pub struct Story {
    began: Instant,
}

impl Story {
    /// Begins to count.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// A heading.
    pub fn chapter(&self, title: &str) {
        print(&format!("\n{} ==== {title}", self.time()));
    }

    /// A sentence.
    pub fn tell(&self, text: &str) {
        print(&format!("{} {text}", self.time()));
    }

    /// Text of several lines, a table for example.
    pub fn show(&self, text: &str) {
        for line in text.trim_end().lines() {
            print(&format!("{:12}{line}", ""));
        }
    }

    /// A line of the migration's record, as it comes.
    pub fn entry(&self, entry: &Entry) {
        if entry.event == "intent" {
            return;
        }
        let Entry {
            offset_us,
            took_us,
            step,
            event,
            message,
            ..
        } = entry;
        let took = match took_us {
            0 => String::new(),
            took => format!(" ({:.1} ms)", ms(*took)),
        };
        let offset = ms(*offset_us);
        self.tell(&format!(
            "  {offset:>+10.1} ms  {step:<9} {event:<6} {message}{took}"
        ));
        self.acknowledgements(entry);
    }

    /// Which sidecars acknowledged a publication, if this entry is about one.
    fn acknowledgements(&self, entry: &Entry) {
        let nodes = entry.evidence.pointer("/convergence/acknowledged");
        let Some(nodes) = nodes.and_then(Value::as_array) else {
            return;
        };
        let names: Vec<&str> = nodes.iter().filter_map(Value::as_str).collect();
        let within = match entry.evidence.get("barrier_us").and_then(Value::as_u64) {
            Some(us) => format!(" within {:.1} ms", ms(us)),
            None => String::new(),
        };
        self.tell(&format!("{:29}ACK from {}{within}", "", names.join(", ")));
    }

    fn time(&self) -> String {
        format!("[{:>7.2} s]", self.began.elapsed().as_secs_f64())
    }
}

fn print(line: &str) {
    // A reader that closes the pipe does not want the rest.
    writeln!(stdout().lock(), "{line}").ok();
}
