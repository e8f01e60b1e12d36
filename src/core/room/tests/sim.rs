//! Several rooms around a server, in all weathers.
//!
//! `ROOM_SEEDS` sets the number of random runs, `ROOM_FIRST` the first seed, `ROOM_TRACE` prints what happens.

mod actions;
mod media;
mod outcome;
mod server;
mod world;

use std::time::Duration;

use super::ms;
use crate::core::io::MediaKind;
use crate::core::negotiator::tests::pair::track;
use actions::Action;
use world::{Weather, World};

/// Faults and changes end here.
const CALM: Duration = Duration::from_secs(40);

/// The server has noticed all dead connections by now.
const KNOWN: Duration = Duration::from_secs(60);

fn kind(key: u32) -> MediaKind {
    match key.is_multiple_of(2) {
        true => MediaKind::Audio,
        false => MediaKind::Video,
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// One random run from its seed.
fn run(seed: u64, weather: Weather, actions: u32) {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let members = [2, 2, 2, 3, 3, 4][rng.usize(0..6)];
    let mut world = World::new(seed, weather, members);
    for member in 0..members {
        world.at(ms(rng.u64(0..5000)), member, Action::Join);
        for _ in 0..rng.u32(0..3) {
            let key = rng.u32(0..4);
            let track = track(member as u32 * 10 + key, kind(key));
            world.at(ms(rng.u64(0..8000)), member, Action::Add(track));
        }
    }
    for _ in 0..rng.u32(0..=actions) {
        let member = rng.usize(0..members);
        let key = rng.u32(0..4);
        let name = member as u32 * 10 + key;
        let action = match rng.u32(0..12) {
            0 => Action::Leave,
            1 | 2 => Action::Join,
            3 | 4 => Action::Drop,
            5 => Action::ServerLoses,
            6 | 7 => Action::Remove(name),
            8 => Action::Say,
            _ => Action::Add(track(name, kind(key))),
        };
        world.at(ms(rng.u64(0..CALM.as_millis() as u64)), member, action);
    }
    world.run(KNOWN + Duration::from_secs(60));
    if let Err(why) = world.verdict() {
        panic!("seed {seed}: {why}");
    }
    world.everybody_leaves();
}

fn runs(count: u64, weather: Weather, actions: u32) {
    let first = number("ROOM_FIRST", 0);
    for seed in first..first + number("ROOM_SEEDS", count) {
        run(seed, weather, actions);
    }
}

const FAIR: Weather = Weather {
    loss: 0,
    failures: 0,
    unreachable: 0,
    until: Duration::ZERO,
    deaf: false,
    counts: false,
};

const BAD: Weather = Weather {
    loss: 10,
    failures: 3,
    unreachable: 30,
    until: CALM,
    deaf: false,
    counts: false,
};

const WORST: Weather = Weather {
    loss: 30,
    failures: 8,
    unreachable: 50,
    until: CALM,
    deaf: false,
    counts: false,
};

#[test]
fn everybody_comes_and_stays() {
    runs(80, FAIR, 0);
}

#[test]
fn coming_and_going() {
    runs(100, FAIR, 14);
}

#[test]
fn bad_weather() {
    runs(120, BAD, 10);
}

#[test]
fn the_worst_weather() {
    runs(100, WORST, 24);
}

/// A receiver's webrtcbin broke twice: the second time before it could ask for the media again.
#[test]
fn a_question_that_was_not_asked_is_asked_again() {
    run(1054, Weather { deaf: true, ..BAD }, 10);
    // The second time was another reconnect.
    run(3109, Weather { deaf: true, ..BAD }, 10);
}

/// The end of a track could not be told before the connection was made anew, and then there was nothing to offer.
#[test]
fn tracks_end_with_their_connection() {
    run(3354, Weather { deaf: true, ..BAD }, 10);
}

/// What the service says has to be enough.
#[test]
fn nobody_notices_lost_connections() {
    runs(100, Weather { deaf: true, ..FAIR }, 14);
    runs(100, Weather { deaf: true, ..BAD }, 10);
}

/// Connections outlive lost sockets, also where not everybody comes back, or comes back as somebody else.
#[test]
fn connections_are_kept() {
    for deaf in [false, true] {
        let weather = |from: Weather| Weather {
            deaf,
            counts: true,
            ..from
        };
        runs(40, weather(FAIR), 14);
        runs(50, weather(BAD), 14);
        runs(30, weather(WORST), 24);
    }
}
