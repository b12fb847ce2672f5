//! Random interleavings against the reference model. `XDS_PROPERTY_STEPS` sets how many steps in
//! all, `XDS_PROPERTY_SEED` the first seed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Transport;
use crate::stream::model::{Choices, Script, play};

/// Splitmix64: the same in every run, and every seed is a good one.
/// <https://prng.di.unimi.it/splitmix64.c>
struct Random {
    state: u64,
    taken: Vec<u8>,
}

impl Choices for Random {
    fn below(&mut self, limit: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [choice, ..] = (z ^ (z >> 31)).to_be_bytes();
        self.taken.push(choice);
        usize::from(choice) % limit
    }
}

#[test]
fn delta_streams_obey_the_model() {
    explore(Transport::Delta);
}

#[test]
fn state_of_the_world_streams_obey_the_model() {
    explore(Transport::StateOfTheWorld);
}

/// What a fuzzer has found worth keeping: the first byte says by which form of the protocol.
#[test]
fn the_corpus_obeys_the_model() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/stream");
    let mut played = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let (form, choices) = bytes.split_first().unwrap();
        let transport = if form % 2 == 0 {
            Transport::Delta
        } else {
            Transport::StateOfTheWorld
        };
        let played_out = play(transport, &mut Script::new(choices), choices.len().min(400));
        assert!(played_out.is_ok(), "{}: {played_out:?}", path.display());
        played += 1;
    }
    assert!(played > 0);
}

fn explore(transport: Transport) {
    let steps = number("XDS_PROPERTY_STEPS").unwrap_or(60_000) / 2;
    let first = number("XDS_PROPERTY_SEED").unwrap_or(0);
    let mut left = steps;
    for seed in first.. {
        let steps = if seed % 8 == 7 { LONG } else { SHORT };
        let Some(others) = left.checked_sub(steps) else {
            return;
        };
        left = others;
        let mut random = Random {
            state: seed,
            taken: Vec::new(),
        };
        if broken(transport, &mut random, steps).is_none() {
            continue;
        }
        let choices = shrunk(transport, random.taken, steps);
        let story = broken(transport, &mut Script::new(&choices), steps).unwrap_or_default();
        panic!(
            "{transport:?}, seed {seed}, {} choices: {story}",
            choices.len()
        );
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn broken(transport: Transport, choices: &mut impl Choices, steps: u64) -> Option<String> {
    let steps = usize::try_from(steps).unwrap();
    let played = catch_unwind(AssertUnwindSafe(|| play(transport, choices, steps)));
    match played {
        Ok(outcome) => outcome.err(),
        Err(_) => Some("it panics".to_owned()),
    }
}

/// Leaves out the choices without which the play fails, too.
fn shrunk(transport: Transport, mut choices: Vec<u8>, steps: u64) -> Vec<u8> {
    let mut length = choices.len() / 2;
    while length > 0 {
        let mut at = 0;
        while at + length <= choices.len() {
            let mut fewer = choices.clone();
            fewer.drain(at..at + length);
            if broken(transport, &mut Script::new(&fewer), steps).is_some() {
                choices = fewer;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    choices
}

/// Most plays have short stories, and every one ends at rest.
const SHORT: u64 = 40;
const LONG: u64 = 400;
