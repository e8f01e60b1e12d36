//! Peers that add and remove tracks for days.

use std::time::Duration;

use super::bin::Bin;
use super::golden::{CHROMIUM, CHROMIUM_RECYCLED, accept};
use super::pair::{FAIR, Pair, Weather, everything, track};
use super::peer::Lone;
use crate::core::io::{Codec, ConnectionState, MediaKind, SessionEvent, TrackKey};
use crate::core::negotiator::{NegotiatorInput, NegotiatorOutput};
use crate::sdp::model::Sdp;

/// A frame of the service.
const FRAME: usize = 65_536;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn kind(n: u32) -> MediaKind {
    match n % 2 {
        0 => MediaKind::Video,
        _ => MediaKind::Audio,
    }
}

fn present(pair: &Pair, side: usize) -> &Bin {
    pair.sides[side].bins.values().next_back().expect("a webrtcbin")
}

/// One side keeps a microphone on and shows and hides something else; `both`: so does the other.
fn rounds(seed: u64, rounds: u32, both: bool) -> Pair {
    let mut pair = Pair::new(seed, FAIR, [everything(), everything()]);
    pair.storm = usize::MAX;
    let sides = if both { 0..2 } else { 1..2 };
    for side in sides.clone() {
        pair.at(ms(0), side, NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    }
    pair.run(ms(5000));
    for round in 0..rounds {
        let start = 5000 + u64::from(round) * 8000;
        let key = 2 + round;
        for side in sides.clone() {
            pair.at(ms(start), side, NegotiatorInput::AddTrack(track(key, kind(key))));
            pair.at(
                ms(start + 4000),
                side,
                NegotiatorInput::RemoveTrack(TrackKey(key)),
            );
        }
        for (until, there) in [(start + 3999, true), (start + 7999, false)] {
            pair.run(ms(until));
            pair.verdict()
                .unwrap_or_else(|why| panic!("round {round}, there: {there}: {why}"));
        }
    }
    pair
}

#[test]
fn a_thousand_tracks_that_come_and_go_one_after_the_other() {
    for (seed, count, both) in [(1, 1000, false), (2, 200, true)] {
        let pair = rounds(seed, count, both);
        for side in 0..2 {
            let lines = present(&pair, side).lines();
            assert!(lines <= 8, "side {side} has {lines} m-lines");
            let bins = pair.sides[side].bins.len();
            assert!(
                bins == 1 || both && bins == 2,
                "one connection all the time: {bins}"
            );
            assert!(pair.sides[side].problems.is_empty());
        }
        assert!(pair.largest < 10_000, "{} bytes", pair.largest);
    }
}

/// Several at a time, in any order, both sides at once, some descriptions lost.
#[test]
fn tracks_that_come_and_go_at_random() {
    for seed in 0..8 {
        let weather = Weather {
            loss: 3,
            until: ms(200 * 1000),
            failures: 0,
        };
        let mut pair = Pair::new(seed, weather, [everything(), everything()]);
        pair.storm = usize::MAX;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut live: [Vec<u32>; 2] = Default::default();
        let mut next = 1;
        for step in 0..200 {
            let side = rng.usize(0..2);
            let input = if live[side].len() == 4 || (!live[side].is_empty() && rng.bool()) {
                let which = rng.usize(0..live[side].len());
                NegotiatorInput::RemoveTrack(TrackKey(live[side].remove(which)))
            } else {
                live[side].push(next);
                next += 1;
                let mut track = track(next - 1, kind(next));
                if rng.bool() && track.kind == MediaKind::Video {
                    track.codecs = vec![Codec::H264];
                }
                NegotiatorInput::AddTrack(track)
            };
            pair.at(ms(1000 * step + rng.u64(0..900)), side, input);
        }
        for until in [200_000, 300_000] {
            pair.run(ms(until));
        }
        pair.verdict().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        nobody_lacks_a_codec(&pair, seed);
        let lines = (0..2).map(|side| present(&pair, side).lines()).max();
        assert!(lines <= Some(40), "seed {seed}: {lines:?} m-lines");
        assert!(pair.largest < FRAME / 2, "seed {seed}: {} bytes", pair.largest);
    }
}

fn nobody_lacks_a_codec(pair: &Pair, seed: u64) {
    for side in &pair.sides {
        let wrong = side.problems.iter().any(|problem| problem == "no_common_codec");
        assert!(!wrong, "seed {seed}: {:?}", side.problems);
    }
}

/// A pad comes and goes, each time with another track, faster than the peer answers.
#[test]
fn a_pad_whose_track_changes_all_the_time() {
    let seeds = std::env::var("CHURN_SEEDS").map_or(30, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        let mut pair = Pair::new(seed, FAIR, [everything(), everything()]);
        pair.storm = usize::MAX;
        let mut rng = fastrand::Rng::with_seed(seed);
        let pace = rng.u64(50..1200);
        let sound = |key: u32, number: u64| {
            let mut track = track(key, MediaKind::Audio);
            track.codecs = vec![Codec::Pcmu];
            track.track_id = format!("t{key}-{number}");
            NegotiatorInput::AddTrack(track)
        };
        for side in 0..2 {
            pair.at(ms(0), side, sound(1, 0));
            let mut at = 5000;
            for number in 0..100 {
                at += rng.u64(0..pace);
                pair.at(ms(at), side, sound(2, number));
                at += rng.u64(0..pace);
                pair.at(ms(at), side, NegotiatorInput::RemoveTrack(TrackKey(2)));
            }
        }
        pair.run(ms(5000 + 300 * pace));
        nobody_lacks_a_codec(&pair, seed);
        pair.verdict().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// What a browser insists on (JSEP §5.2.2): a section keeps its place and its mid until both sides have rejected it,
/// then it may be another one.
#[derive(Default)]
struct Browser {
    sections: Vec<(String, bool)>,
    /// Mids it has ever seen: a recycled section has a new one.
    seen: Vec<String>,
    /// Track ids that its receivers were made with.
    tracks: Vec<String>,
}

impl Browser {
    fn take(&mut self, offer: &Sdp) {
        assert!(offer.media.len() >= self.sections.len(), "fewer sections");
        self.tracks.clear();
        for (index, media) in offer.media.iter().enumerate() {
            let (mid, rejected) = (media.attribute("mid").unwrap().to_owned(), media.port == 0);
            match self.sections.get(index) {
                Some((old, _)) if *old == mid => {}
                Some((_, false)) => panic!("the order of m-lines does not match: {index} is {mid}"),
                _ => {
                    assert!(!self.seen.contains(&mid), "{mid} again");
                    self.seen.push(mid.clone());
                }
            }
            self.sections.truncate(index.max(self.sections.len()));
            match self.sections.get_mut(index) {
                Some(section) => *section = (mid, rejected),
                None => self.sections.push((mid, rejected)),
            }
            let aiortc = ["ice-ufrag", "ice-pwd", "fingerprint", "rtpmap"];
            assert!(
                aiortc.iter().all(|name| media.attribute(name).is_some()),
                "aiortc"
            );
            if media.has("sendonly") && !rejected {
                let msid = media.attribute("msid").unwrap();
                self.tracks.push(msid.split(' ').nth(1).unwrap().to_owned());
            }
        }
    }
}

#[test]
fn a_browser_can_follow_a_thousand_tracks_of_ours() {
    let mut lone = Lone::polite();
    let mut browser = Browser::default();
    let mut turn = |lone: &mut Lone, expected: &[String]| {
        lone.pass(Duration::from_secs(1));
        browser.take(&lone.last().1);
        assert_eq!(browser.tracks, expected);
        lone.answer(&accept(lone, "Brt8"));
    };
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    turn(&mut lone, &["t1".into()]);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    for key in 2..1002 {
        lone.handle(NegotiatorInput::AddTrack(track(key, kind(key))));
        turn(&mut lone, &["t1".into(), format!("t{key}")]);
        lone.handle(NegotiatorInput::RemoveTrack(TrackKey(key)));
        turn(&mut lone, &["t1".into()]);
    }
    assert_eq!(lone.sent.len(), 2001, "one offer for each change");
    assert!(lone.last().1.media.len() <= 3);
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    assert!(lone.bin.as_ref().unwrap().lines() <= 3);
}

/// The browser stops its transceiver and makes another, again and again: its sections are recycled under new mids.
#[test]
fn a_thousand_tracks_of_a_browser_that_stops_them() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    for round in 0..1000 {
        let mid = format!("{}", 3 + round);
        let text = CHROMIUM_RECYCLED.replace("a=mid:3", &format!("a=mid:{mid}"));
        let offer = text.replace("a=group:BUNDLE 0 3", &format!("a=group:BUNDLE 0 {mid}"));
        let mut stopped = Sdp::parse(&offer).unwrap();
        lone.pass(Duration::from_secs(1));
        lone.offer(&offer);
        assert_eq!(lone.directions()[1], (mid.clone(), "recvonly"));
        let routing = &lone.bin.as_ref().unwrap().routing;
        assert_eq!(routing.receiving[1].ssrcs, [3001]);
        let internal = routing.receiving[1].mid.clone();
        let before = lone.others.len();
        lone.event(SessionEvent::MediaArrived {
            mid: internal,
            codec: Codec::Vp8,
        });
        let added = |other: &NegotiatorOutput| matches!(other, NegotiatorOutput::TrackAdded(_));
        assert!(lone.others[before..].iter().any(added), "round {round}");
        stopped.media[1].port = 0;
        let live: Vec<String> = stopped
            .bundle()
            .into_iter()
            .filter(|m| *m != mid)
            .map(str::to_owned)
            .collect();
        stopped.set_bundle(&live);
        lone.offer(&stopped.write());
        let removed = |other: &NegotiatorOutput| matches!(other, NegotiatorOutput::TrackRemoved(..));
        assert!(lone.others[before..].iter().any(removed), "round {round}");
    }
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    assert!(lone.bin.as_ref().unwrap().lines() <= 4);
}

/// Under the same key, in one turn: its stream, its id or its codecs are other ones.
#[test]
fn a_track_that_becomes_another_gets_another_line() {
    let mut lone = Lone::polite();
    for key in 1..3 {
        lone.handle(NegotiatorInput::AddTrack(track(key, MediaKind::Video)));
    }
    lone.pass(Duration::from_secs(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    for round in 0..100 {
        let mut other = track(2, MediaKind::Video);
        other.stream_id = format!("stream{round}");
        lone.handle(NegotiatorInput::RemoveTrack(TrackKey(2)));
        lone.handle(NegotiatorInput::AddTrack(other));
        lone.pass(Duration::from_secs(1));
        let sdp = lone.last().1.write();
        let msids: Vec<&str> = sdp.lines().filter(|line| line.starts_with("a=msid:")).collect();
        assert_eq!(
            msids,
            ["a=msid:s1 t1".to_owned(), format!("a=msid:stream{round} t2")]
        );
        lone.answer(&accept(&lone, "Brt8"));
        assert_eq!(lone.bin.as_ref().unwrap().routing.sending.len(), 2);
    }
    assert_eq!(
        (lone.sent.len(), lone.generations, lone.problems.len()),
        (101, 1, 0)
    );
    assert!(lone.last().1.media.len() <= 3 && lone.bin.as_ref().unwrap().lines() <= 4);
}

/// Whatever makes the lines of ours useless one after the other, there is a bound: then a new webrtcbin takes over.
#[test]
fn lines_that_cannot_be_used_again_end_with_a_new_webrtcbin() {
    let all = [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1];
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(Duration::from_secs(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    let mut most = 0;
    // Twenty at a time, each time with another codec.
    for round in 0..12_u32 {
        let keys = 100 * (round + 1)..100 * (round + 1) + 20;
        for key in keys.clone() {
            let mut track = track(key, MediaKind::Video);
            track.codecs = vec![all[round as usize % 4]];
            lone.handle(NegotiatorInput::AddTrack(track));
        }
        for last in [false, true] {
            lone.pass(Duration::from_secs(1));
            let sdp = lone.last().1;
            let live = sdp
                .media
                .iter()
                .filter(|media| media.port != 0 && media.has("sendonly"));
            assert_eq!(live.count(), if last { 1 } else { 21 }, "round {round}");
            lone.answer(&accept(&lone, &format!("Brt{}", lone.generations)));
            most = most.max(lone.bin.as_ref().unwrap().lines());
            if !last {
                for key in keys.clone() {
                    lone.handle(NegotiatorInput::RemoveTrack(TrackKey(key)));
                }
            }
        }
    }
    assert!(most <= 64, "{most}");
    assert!(
        lone.generations > 1 && lone.problems.is_empty(),
        "{:?}",
        lone.problems
    );
    assert!(lone.sent.iter().all(|(_, sdp)| sdp.len() < FRAME));
}
