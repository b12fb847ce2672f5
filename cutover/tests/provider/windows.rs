//! Both proofs over windows in which several transactions, drawn at random, come together.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_catalog::UnixMillis;
use pointsman_cutover::ports::{Clock as _, Finding, SystemClock};

use crate::{
    proof::{BothProofs, stranger},
    writers::{Is, Kind, Writer},
};

/// Small and seeded: the same number makes the same windows.
struct Random(u64);

impl Random {
    /// `xorshift64*`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap() % bound
    }
}

/// How many a test looks at, unless `POINTSMAN_WINDOWS` says otherwise.
const WINDOWS: u32 = 150;
/// In one window.
const MOST_WRITERS: usize = 4;

#[tokio::test]
async fn both_proofs_agree_in_random_windows() {
    let UnixMillis(now) = SystemClock::default().now();
    let seed = std::env::var("POINTSMAN_SEED").map_or(now, |seed| seed.parse().unwrap());
    let windows = std::env::var("POINTSMAN_WINDOWS").map_or(WINDOWS, |n| n.parse().unwrap());
    println!("POINTSMAN_SEED={seed} POINTSMAN_WINDOWS={windows}");
    let mut random = Random(seed.max(1));
    let both = BothProofs::start().await;
    let mut writers = Writer::of_each_kind(&both.pair.source).await;
    let mut tally: BTreeMap<&str, u32> = BTreeMap::new();
    for window in 1..=windows {
        let drawn = random.below(MOST_WRITERS + 1);
        let chosen: BTreeSet<_> = (0..drawn).map(|_| random.below(writers.len())).collect();
        for &writer in &chosen {
            writers[writer].begin().await;
        }
        let since = both.source.look().await;
        for &writer in &chosen {
            writers[writer].write().await;
        }
        let found = both.source.found(&since, &both.exempt).await;
        for &writer in &chosen {
            writers[writer].end().await;
        }
        let kinds: Vec<_> = chosen.iter().map(|&writer| writers[writer].kind).collect();
        let records_say = |written: bool| {
            let records = found.records.as_ref();
            records.is_none_or(|found| matches!(found, Finding::Written(_)) == written)
        };
        let any = |is: Is| kinds.iter().any(|kind| kind.is == is);
        let outcome = if any(Is::Written) {
            (stranger(&found.ids) && records_say(true)).then_some("both: somebody wrote")
        } else if stranger(&found.ids) {
            // An id does not say what was written: a false alarm, by design.
            (any(Is::Id) && records_say(false))
                .then_some("ids: somebody took an id; records: nobody wrote")
        } else {
            // Who else holds a lock keeps a VACUUM from truncating.
            let no_id = |kind: &&'static Kind| {
                kind.is == Is::Nothing || kind.name == "VACUUM that truncates"
            };
            (found.ids == Finding::Unwritten && kinds.iter().all(no_id) && records_say(false))
                .then_some("both: nobody wrote")
        };
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
        let outcome =
            outcome.unwrap_or_else(|| panic!("seed {seed}, window {window}, {kinds:?}: {found:?}"));
        *tally.entry(outcome).or_default() += 1;
    }
    println!("{tally:#?}");
    assert_eq!(tally.len(), 3, "a kind of window never came");
}
