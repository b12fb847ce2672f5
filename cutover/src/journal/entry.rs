use pointsman_catalog::{
    UnixMillis,
    store::record::{Format, Record},
};
use serde::{Deserialize, Serialize};

use crate::machine::{Event, Machine};

/// What an entry records.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A step is about to run.
    Intent,
    /// It succeeded; the evidence proves it.
    Done,
    /// It did not; the message says why.
    Failed,
    /// Something else worth knowing.
    Note,
}

/// One line of the record.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Entry {
    /// Counts the entries of a migration, from 1.
    pub number: u64,
    /// 0 before the first switch.
    pub switch: u32,
    pub epoch: u64,
    pub at: UnixMillis,
    /// Since the switch began, in microseconds.
    pub offset_us: u64,
    /// How long the step took, in microseconds; 0 for intents and notes.
    pub took_us: u64,
    pub step: String,
    pub kind: EntryKind,
    pub message: String,
    pub evidence: serde_json::Value,
    /// The event that the entry is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened: Option<Happened>,
    /// The hash of the entry before this one.
    pub previous: String,
    /// SHA-256, in hexadecimal, of this entry's JSON with an empty `hash`.
    pub hash: String,
}

/// An event, and where it led.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Happened {
    pub event: Event,
    pub at: UnixMillis,
    pub machine: Machine,
}

impl Record for Entry {
    const FORMAT: Format = Format(1);
}

/// An entry before it is numbered and chained.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: UnixMillis,
    pub offset_us: u64,
    pub took_us: u64,
    pub step: String,
    pub kind: EntryKind,
    pub message: String,
    pub evidence: serde_json::Value,
    pub happened: Option<Happened>,
}
