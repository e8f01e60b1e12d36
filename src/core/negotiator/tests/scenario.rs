//! What two of our own kind do to each other.
//!
//! `NEGOTIATOR_SEEDS` sets the number of random runs, `NEGOTIATOR_FIRST` the first seed, `NEGOTIATOR_TRACE` prints what
//! happens (`NEGOTIATOR_FULL` with whole descriptions).

use std::time::Duration;

use super::pair::{FAIR, Pair, Weather, everything, track};
use crate::core::io::{MediaKind, TrackKey};
use crate::core::negotiator::{NegotiatorInput, PeerState};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn add(key: u32, kind: MediaKind) -> NegotiatorInput {
    NegotiatorInput::AddTrack(track(key, kind))
}

#[test]
fn one_side_sends() {
    for (seed, sender) in [(1, 0), (2, 1)] {
        let mut pair = Pair::new(seed, FAIR, [everything(), everything()]);
        pair.at(ms(0), sender, add(1, MediaKind::Audio));
        pair.at(ms(1), sender, add(2, MediaKind::Video));
        pair.run(ms(5000));
        pair.verdict().unwrap();
        assert_eq!(pair.descriptions, 2, "tracks of one turn make one offer");
    }
}

#[test]
fn nothing_to_say() {
    let mut pair = Pair::new(3, FAIR, [everything(), everything()]);
    pair.run(ms(60_000));
    assert_eq!(pair.descriptions, 0);
    assert_eq!(pair.sides[0].state, PeerState::Idle);
}

#[test]
fn both_send_and_both_change() {
    for seed in 0..300 {
        let mut pair = Pair::new(seed, FAIR, [everything(), everything()]);
        for side in 0..2 {
            pair.at(ms(0), side, add(1, MediaKind::Audio));
            pair.at(ms(5000), side, add(2, MediaKind::Video));
            pair.at(ms(10_000), side, NegotiatorInput::RemoveTrack(TrackKey(1)));
            pair.at(ms(15_000), side, add(1, MediaKind::Audio));
            pair.at(ms(15_000), side, add(3, MediaKind::Video));
        }
        for until in [4_500, 9_500, 14_500, 20_000] {
            pair.run(ms(until));
            pair.verdict()
                .unwrap_or_else(|why| panic!("seed {seed} at {until}: {why}"));
        }
        for side in &pair.sides {
            assert!(side.problems.is_empty(), "seed {seed}: {:?}", side.problems);
            assert!(
                side.bins.len() <= 2,
                "seed {seed}: {} generations",
                side.bins.len()
            );
        }
    }
}

#[test]
fn bad_weather() {
    let seeds = std::env::var("NEGOTIATOR_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1000);
    let first = std::env::var("NEGOTIATOR_FIRST")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    for seed in first..first + seeds {
        let weather = Weather {
            loss: 30,
            until: ms(40_000),
            failures: 5,
        };
        let mut pair = Pair::new(seed, weather, [everything(), everything()]);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0xabcdef);
        for _ in 0..rng.u32(1..12) {
            let side = rng.usize(0..2);
            let key = rng.u32(1..5);
            let kind = if key.is_multiple_of(2) {
                MediaKind::Audio
            } else {
                MediaKind::Video
            };
            let input = match rng.u32(0..10) {
                0 => NegotiatorInput::Reset,
                1 => NegotiatorInput::ExpectOffer,
                2 | 3 => NegotiatorInput::RemoveTrack(TrackKey(key)),
                _ => add(key, kind),
            };
            pair.at(ms(rng.u64(0..40_000)), side, input);
        }
        let mut worst = Err("never".to_owned());
        // 45 s after the last fault everything must stand.
        for until in [60_000, 85_000] {
            pair.run(ms(until));
            worst = pair.verdict();
        }
        worst.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}
