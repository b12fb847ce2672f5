use pointsman_catalog::UnixMillis;
use tokio::time::Instant;

use super::*;

const MAX_AGE: Duration = Duration::from_secs(3600);

struct Clock(Instant);

impl Clock {
    /// `ms` after the beginning, on both clocks.
    fn at(&self, ms: u64) -> Moment {
        Moment {
            wall: UnixMillis(1_000_000 + ms),
            running: Some(self.0 + Duration::from_millis(ms)),
        }
    }
}

fn current(clock: &Clock, asked: u64) -> News {
    News::Current {
        kept: Arc::default(),
        asked: clock.at(asked),
    }
}

#[test]
fn what_is_kept_is_served_only_while_the_control_plane_does_not_serve() {
    let clock = Clock(Instant::now());
    let mut keeper = Keeper::new(MAX_AGE, None);
    assert_eq!(keeper.verdict(clock.at(0)), Verdict::Silent(Why::Trying));
    keeper.hear(current(&clock, 0));
    assert_eq!(keeper.verdict(clock.at(1)), Verdict::Silent(Why::Reachable));
    // It may be back at once.
    keeper.hear(News::Ended);
    assert_eq!(keeper.verdict(clock.at(2)), Verdict::Silent(Why::Trying));
    keeper.hear(News::Unreachable);
    assert_eq!(keeper.verdict(clock.at(3)), Verdict::Serve(Arc::default()));
    keeper.hear(current(&clock, 4));
    assert_eq!(keeper.verdict(clock.at(5)), Verdict::Silent(Why::Reachable));
}

#[test]
fn nothing_is_served_before_the_control_plane_was_tried_or_when_nothing_was_kept() {
    let clock = Clock(Instant::now());
    let kept = (Kept::default(), Moment::recorded(clock.at(0).wall));
    let mut keeper = Keeper::new(MAX_AGE, Some(kept));
    assert_eq!(keeper.verdict(clock.at(1)), Verdict::Silent(Why::Trying));
    keeper.hear(News::Unreachable);
    assert_eq!(keeper.verdict(clock.at(2)), Verdict::Serve(Arc::default()));
    let mut empty = Keeper::new(MAX_AGE, None);
    empty.hear(News::Unreachable);
    let nothing = Verdict::Silent(Why::NothingKept);
    assert_eq!(empty.verdict(clock.at(2)), nothing);
}

#[test]
fn beyond_its_age_nothing_is_served() {
    let clock = Clock(Instant::now());
    let mut keeper = Keeper::new(MAX_AGE, None);
    keeper.hear(current(&clock, 500));
    keeper.hear(News::Unreachable);
    let last = 500 + 3_600_000;
    assert_eq!(
        keeper.expires_in(clock.at(last - 7)),
        Some(Duration::from_millis(7))
    );
    assert!(matches!(keeper.verdict(clock.at(last)), Verdict::Serve(_)));
    let age = MAX_AGE + Duration::from_millis(1);
    let too_old = Verdict::Silent(Why::TooOld { age });
    assert_eq!(keeper.verdict(clock.at(last + 1)), too_old);
    assert_eq!(keeper.expires_in(clock.at(last + 1)), None);
}

#[test]
fn with_a_clock_that_went_back_nothing_is_served() {
    let clock = Clock(Instant::now());
    let contact = Moment::recorded(clock.at(1_000).wall);
    let mut keeper = Keeper::new(MAX_AGE, Some((Kept::default(), contact)));
    keeper.hear(News::Unreachable);
    let silent = Verdict::Silent(Why::ClockWentBack);
    assert_eq!(keeper.verdict(clock.at(999)), silent);
    assert!(matches!(keeper.verdict(clock.at(1_000)), Verdict::Serve(_)));
}

#[test]
fn what_is_withdrawn_is_forgotten_and_stays_so_while_the_control_plane_is_gone() {
    let clock = Clock(Instant::now());
    let mut keeper = Keeper::new(MAX_AGE, None);
    keeper.hear(current(&clock, 0));
    let withdrawn = News::Withdrawn("nobody registered it".to_owned());
    assert_eq!(keeper.hear(withdrawn), FileChange::Remove);
    keeper.hear(News::Unreachable);
    let silent = Why::Withdrawn("nobody registered it".to_owned());
    assert_eq!(keeper.verdict(clock.at(1)), Verdict::Silent(silent));
    assert!(keeper.kept().is_none());
    keeper.hear(current(&clock, 2));
    keeper.hear(News::Unreachable);
    assert!(matches!(keeper.verdict(clock.at(3)), Verdict::Serve(_)));
}

#[test]
fn the_file_is_written_when_what_it_holds_has_changed() {
    let clock = Clock(Instant::now());
    let mut keeper = Keeper::new(MAX_AGE, None);
    assert_eq!(keeper.hear(current(&clock, 0)), FileChange::Write);
    assert_eq!(keeper.hear(current(&clock, 0)), FileChange::None);
    assert_eq!(keeper.hear(current(&clock, 1)), FileChange::Write);
    assert_eq!(keeper.hear(News::Unreachable), FileChange::None);
}
