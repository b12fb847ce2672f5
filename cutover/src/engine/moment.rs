//! A moment, as a person reads it.

use jiff::Timestamp;
use pointsman_catalog::UnixMillis;

/// In UTC, to the second.
pub(super) fn moment(at: UnixMillis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).map_or_else(
        |_out_of_range| format!("{at} ms"),
        |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}
