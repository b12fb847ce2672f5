//! A migration as it changes.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, future::ready};
use pointsman_cutover::Status;
use pointsman_proto::v1;

use super::migration;

/// A message for each change. The first has the whole timeline, each later one what has come to it
/// since; what a watcher would not see sends none.
pub(super) fn changes(
    statuses: impl Stream<Item = Arc<Status>>,
) -> impl Stream<Item = v1::Migration> {
    let mut sent = 0;
    let mut last = v1::Migration::default();
    statuses.filter_map(move |status| {
        let message = migration::message_since(&status, sent);
        sent = status.entries.len();
        ready(is_news(&mut last, &message).then_some(message))
    })
}

fn is_news(last: &mut v1::Migration, message: &v1::Migration) -> bool {
    let stripped = v1::Migration {
        timeline: Vec::new(),
        ..message.clone()
    };
    if message.timeline.is_empty() && *last == stripped {
        return false;
    }
    *last = stripped;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_watcher_would_see_is_news() {
        let message = |headline: &str, entries: usize| v1::Migration {
            headline: headline.to_owned(),
            timeline: vec![v1::TimelineEntry::default(); entries],
            ..v1::Migration::default()
        };
        let mut last = v1::Migration::default();
        assert!(is_news(&mut last, &message("green serves", 3)));
        assert!(!is_news(&mut last, &message("green serves", 0)));
        assert!(is_news(&mut last, &message("green serves", 1)));
        assert!(is_news(&mut last, &message("blue serves", 0)));
    }
}
