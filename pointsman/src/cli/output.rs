//! Tables for people, JSON for programs.

use std::{fmt, io::Write as _};

use comfy_table::presets::NOTHING;
use serde::Serialize;
use tokio::io::Interest;

use super::global::Format;

/// Prints `value` as JSON, or what `text` makes of it.
pub(super) fn print<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Table => line(&text()),
        Format::Json => line(&serde_json::to_string_pretty(value)?),
    }
}

/// Prints one line and flushes it, so that a reader of a pipe sees it at once.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Waits until the reader of our output has closed its pipe; for ever if the output is no pipe.
pub(super) async fn reader_gone() {
    // Opened anew, because it has to be non-blocking and the output itself must stay blocking.
    let pipe = tokio::net::unix::pipe::OpenOptions::new().open_sender("/dev/stdout");
    match pipe {
        Ok(pipe) if pipe.ready(Interest::ERROR).await.is_ok() => {}
        Ok(_) | Err(_) => std::future::pending().await,
    }
}

/// A table without lines: easy on the eye and on `awk`.
pub(super) struct Table(Columns);

impl Table {
    pub(super) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self(Columns::new(header.to_vec()))
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.row(cells.into());
    }
}

/// A table whose columns depend on what there is to show.
pub(super) struct Columns(comfy_table::Table);

impl Columns {
    pub(super) fn new(header: Vec<&str>) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_header(header);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.0.add_row(cells);
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.trim_fmt())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A number, or a dash if it is unknown.
pub(super) fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// An absolute time, as people read it.
pub(super) fn clock(unix_ms: u64) -> String {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map_or_else(|| unix_ms.to_string(), |at| format!("{at:.3}"))
}

/// Microseconds as milliseconds with one decimal.
pub(super) fn ms(micros: u64) -> String {
    format!("{}.{}", micros / 1000, micros % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_utc_with_milliseconds() {
        assert_eq!(clock(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }

    #[test]
    fn microseconds_read_as_milliseconds() {
        assert_eq!(ms(61_250), "61.2");
        assert_eq!(ms(40), "0.0");
    }
}
