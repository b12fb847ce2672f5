//! The report for people.

use std::fmt::{self, Display, Formatter};

use super::{Goal, Ratios, Report};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            streams, rounds, ..
        } = self;
        writeln!(
            f,
            "\n{streams} streams, {rounds} rounds; median (p99)\n{:<27}{:>16}{:>17}{:>15}{:>17}{:>15}{:>8}",
            "",
            "last has it ms",
            "all ACKs ms",
            "CPU µs",
            "publish call ms",
            "RSS kB (used)",
            "storm s"
        )?;
        for (name, side) in &self.servers {
            let pair = |figure: super::Figure| format!("{:.1} ({:.1})", figure.median, figure.p99);
            writeln!(
                f,
                "{name:<27}{:>16}{:>17}{:>15}{:>17}{:>15}{:>8.2}",
                pair(side.push_to_last_ms),
                pair(side.push_to_all_acks_ms),
                pair(side.cpu_us_per_push),
                format!(
                    "{:.3} ({:.3})",
                    side.publish_call_ms.median, side.publish_call_ms.p99
                ),
                format!(
                    "{:.1} ({:.1})",
                    side.rss_kb_per_idle_stream, side.rss_kb_per_used_stream
                ),
                side.storm_s.median,
            )?;
        }
        writeln!(f, "own HTTP/2 by h2: {}", self.own_vs_h2)?;
        if let Some(ratios) = &self.vs_baseline {
            writeln!(f, "this build by the baseline: {ratios}")?;
        }
        if let Some(reason) = &self.skipped {
            writeln!(f, "skipped: {reason}")?;
        }
        writeln!(f)?;
        for goal in &self.goals {
            writeln!(f, "{goal}")?;
        }
        Ok(())
    }
}

impl Display for Ratios {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            cpu_per_push,
            push_to_all_acks,
            rss_per_idle_stream,
            rss_per_used_stream,
        } = self;
        write!(
            f,
            "CPU {cpu_per_push:.2}, all ACKs {push_to_all_acks:.2}, \
             RSS {rss_per_idle_stream:.2} ({rss_per_used_stream:.2})"
        )
    }
}

impl Display for Goal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            goal,
            value,
            at_most,
            ..
        } = self;
        let met = if self.met { "met" } else { "NOT MET" };
        write!(f, "{goal:<52}{value:>8.3} of {at_most:<6}{met}")?;
        if let (Some(at_most), Some(met)) = (self.in_the_end_at_most, self.met_in_the_end) {
            let met = if met { "met" } else { "not yet" };
            write!(f, "; in the end {at_most}: {met}")?;
        }
        Ok(())
    }
}
