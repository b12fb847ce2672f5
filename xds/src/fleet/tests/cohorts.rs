//! Whose leases are long because many of a cohort went at once. The time is set by hand.

use super::*;
use crate::lease::Absence;

/// A ledger, its clock, and the streams of nodes that are called by numbers.
struct Timed {
    ledger: Ledger,
    now: Instant,
    streams: BTreeMap<usize, usize>,
}

fn terms(cohort: &str) -> Lease {
    Lease {
        cohort: cohort.into(),
        closed: CLOSED,
        silent: 20 * CLOSED,
        restored: 4 * CLOSED,
    }
}

fn id(number: usize) -> NodeId {
    NodeId::from(number.to_string())
}

impl Timed {
    /// The nodes below `nodes` are connected, all of one cohort.
    fn of(nodes: usize) -> Self {
        let mut timed = Self::new();
        timed.come(0..nodes);
        timed
    }

    fn new() -> Self {
        Self {
            ledger: Ledger::new(Arc::new(SnapshotCache::new())),
            now: Instant::now(),
            streams: BTreeMap::new(),
        }
    }

    fn come(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            self.come_to("web", number);
        }
    }

    fn come_to(&mut self, cohort: &str, number: usize) {
        let peer = Peer {
            address: ([127, 0, 0, 1], 1).into(),
            identity: None,
        };
        let (node, group) = (description(id(number).as_str()), Group::new("group"));
        let lease = Some(terms(cohort));
        let (stream, _) = self.ledger.connect(node, group, peer, lease, self.now);
        self.streams.insert(number, stream);
    }

    fn close(&mut self, numbers: impl IntoIterator<Item = usize>) {
        self.end(numbers, false);
    }

    fn end(&mut self, numbers: impl IntoIterator<Item = usize>, silent: bool) {
        for number in numbers {
            let stream = self.streams.remove(&number).unwrap();
            self.ledger.disconnect(stream, None, silent, self.now);
        }
    }

    fn expect(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for number in numbers {
            let now = self.now;
            self.ledger.expect(id(number), terms("web"), false, now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.ledger.end_leases(self.now);
    }

    /// Those that are awaited and not connected.
    fn awaited(&self) -> usize {
        let status = self.ledger.status(|_| true);
        status.iter().filter(|node| !node.connected()).count()
    }

    fn lease(&self, number: usize) -> Option<LeaseStatus> {
        let status = self.ledger.status(|node| *node == id(number));
        status.first()?.lease
    }
}

#[test]
fn a_cohort_whose_connections_are_all_closed_is_awaited_as_if_it_were_silent() {
    for size in [1, 2, 3, 5, 16, 200] {
        let mut web = Timed::of(size);
        web.close(0..size);
        web.pass(19 * CLOSED);
        assert_eq!(web.awaited(), size);
        let lease = web.lease(0).unwrap();
        assert_eq!(lease.absence, Some(Absence::ClosedWithOthers), "of {size}");
        web.pass(CLOSED);
        assert_eq!(web.awaited(), 0);
    }
}

#[test]
fn a_tenth_of_a_cohort_may_go_at_once() {
    for (size, few) in [(2, 1), (3, 1), (4, 2), (16, 4), (200, 20)] {
        let mut web = Timed::of(size);
        web.close(0..few);
        web.pass(CLOSED);
        assert_eq!(web.awaited(), 0, "{few} of {size}");

        let mut web = Timed::of(size);
        web.close(0..=few);
        web.pass(CLOSED);
        assert_eq!(web.awaited(), few + 1, "{} of {size}", few + 1);
    }
}

#[test]
fn those_that_went_first_are_awaited_with_those_that_follow() {
    let mut web = Timed::of(16);
    for number in 0..16 {
        web.close([number]);
        web.pass(CLOSED / 10);
    }
    web.pass(CLOSED);
    assert_eq!(web.awaited(), 16);
}

#[test]
fn members_that_are_replaced_one_after_the_other_are_let_go_one_after_the_other() {
    let mut web = Timed::of(200);
    // Five in a second, for a minute.
    let beat = CLOSED * 2 / 15;
    for number in 0..300 {
        web.close([number]);
        web.come([200 + number]);
        web.pass(beat);
        assert!(web.awaited() <= 8, "{} at {number}", web.awaited());
    }
}

#[test]
fn a_node_that_closes_again_and_again_is_one() {
    let mut web = Timed::of(16);
    for _ in 0..20 {
        web.close([3]);
        web.come([3]);
    }
    web.close([3, 4]);
    web.pass(CLOSED);
    assert_eq!(web.awaited(), 0);
}

#[test]
fn what_happens_to_another_cohort_does_not_count() {
    let mut fleet = Timed::of(16);
    for number in 100..103 {
        fleet.come_to("billing", number);
    }
    fleet.close(0..4);
    fleet.close(100..103);
    fleet.pass(CLOSED);
    assert_eq!(fleet.awaited(), 3);
    assert!(fleet.lease(100).is_some() && fleet.lease(0).is_none());
}

#[test]
fn whoever_comes_back_holds_its_lease_and_the_rest_is_awaited() {
    let mut web = Timed::of(16);
    web.close(0..16);
    web.pass(5 * CLOSED);
    web.come(0..12);
    web.pass(20 * CLOSED);
    assert_eq!(web.awaited(), 0);
    assert!(web.lease(11).unwrap().absence.is_none());
    web.close(0..1);
    web.pass(CLOSED);
    assert_eq!(web.lease(0), None);
    assert_eq!(web.ledger.cohort_sizes(), [11]);
}

#[test]
fn a_restored_node_has_the_time_in_which_it_reconnects() {
    let mut web = Timed::new();
    web.expect(0..16);
    web.pass(CLOSED);
    assert_eq!(web.awaited(), 16);
    web.come(0..10);
    web.pass(3 * CLOSED);
    assert_eq!(web.awaited(), 0);
}

#[test]
fn when_most_of_a_cohort_does_not_come_back_after_a_restart_it_is_awaited_longer() {
    let mut web = Timed::new();
    web.expect(0..16);
    web.come(0..7);
    web.pass(19 * CLOSED);
    assert_eq!(web.awaited(), 9);
    web.pass(CLOSED);
    assert_eq!(web.awaited(), 0);
}

#[test]
fn the_lease_of_an_absent_node_can_be_kept_until_it_comes_or_is_given_up() {
    let mut web = Timed::of(16);
    web.end(0..2, true);
    web.close([2]);
    for number in [0, 1, 2, 3] {
        assert_eq!(web.ledger.keep_lease(&id(number)), number < 3);
    }
    web.pass(100 * CLOSED);
    assert_eq!(web.awaited(), 3);
    let away = web.ledger.away();
    let away: Vec<_> = away.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(away, ["0", "1", "2"]);
    assert!(web.lease(0).unwrap().is_kept());
    web.come([0]);
    assert!(!web.lease(0).unwrap().is_kept());
    assert!(web.ledger.give_up(&id(1), web.now));
    assert!(!web.ledger.give_up(&id(0), web.now), "it is connected");
    assert_eq!(web.awaited(), 1);
}

#[test]
fn a_lease_that_is_released_ends_as_if_it_had_not_been_kept() {
    let mut web = Timed::of(16);
    web.close([0]);
    web.end([1], true);
    let before = [0, 1].map(|number| web.lease(number));
    for number in [0, 1] {
        assert!(!web.ledger.release_lease(&id(number)), "it is not kept");
        assert!(web.ledger.keep_lease(&id(number)));
        assert!(web.ledger.release_lease(&id(number)));
    }
    assert_eq!([0, 1].map(|number| web.lease(number)), before);
    web.ledger.keep_lease(&id(0));
    web.pass(10 * CLOSED);
    assert_eq!(web.awaited(), 2);
    web.ledger.release_lease(&id(0));
    web.pass(Duration::ZERO);
    assert_eq!(web.awaited(), 1);
}

#[test]
fn a_lease_that_is_kept_stays_so_when_others_of_its_cohort_go() {
    let mut web = Timed::of(8);
    web.close([0]);
    web.ledger.keep_lease(&id(0));
    web.close(1..8);
    assert!(web.lease(0).unwrap().is_kept());
    web.pass(100 * CLOSED);
    assert_eq!(web.awaited(), 1);
    web.ledger.release_lease(&id(0));
    let absence = web.lease(0).unwrap().absence;
    assert_eq!(absence, Some(Absence::ClosedWithOthers));
}

const CLOSED: Duration = Duration::from_millis(1500);
