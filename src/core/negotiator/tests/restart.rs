//! ICE starts anew while the connection stays.

use std::time::Duration;

use super::golden::accept;
use super::pair::{FAIR, Pair, Weather, everything, track};
use super::peer::Lone;
use crate::core::io::{
    ConnectionState, IceServer, MediaKind, SessionCommand, SessionConfig, SessionEvent, TrackKey,
};
use crate::core::negotiator::{NegotiatorInput, NegotiatorOutput, PeerState};
use crate::sdp::model::Sdp;
use crate::wire::{IceCandidate, SdpKind};

const CHROMIUM: &str = include_str!("../../../../tests/fixtures/sdp/chromium-offer.sdp");
const AIORTC: &str = include_str!("../../../../tests/fixtures/sdp/aiortc-offer.sdp");

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The offer under new credentials.
pub fn restarted(offer: &str, n: u32) -> String {
    let mut sdp = Sdp::parse(offer).unwrap();
    for media in &mut sdp.media {
        if media.has("ice-ufrag") {
            media.set("ice-ufrag", &format!("New{n}"));
            media.set("ice-pwd", &format!("newpasswordnewpassword{n}"));
        }
    }
    sdp.write()
}

fn ufrag(lone: &Lone) -> String {
    let (_, sdp) = lone.last();
    let ufrags: Vec<_> = sdp
        .media
        .iter()
        .filter_map(|m| m.attribute("ice-ufrag"))
        .collect();
    assert!(ufrags.windows(2).all(|pair| pair[0] == pair[1]), "{ufrags:?}");
    ufrags[0].to_owned()
}

/// What the peer says next, as an answer to our last offer.
fn answer(lone: &Lone, n: u32) -> String {
    let old = accept(lone, "Brt8");
    if n == 0 { old } else { restarted(&old, n) }
}

fn states(lone: &Lone) -> Vec<PeerState> {
    let state = |output: &NegotiatorOutput| match output {
        NegotiatorOutput::State(state) => Some(*state),
        _ => None,
    };
    lone.others.iter().filter_map(state).collect()
}

fn candidate(n: u32, ufrag: &str) -> NegotiatorInput {
    NegotiatorInput::Candidate(IceCandidate {
        candidate: format!("candidate:{n} 1 udp 1 192.0.2.1 {n} typ host generation 1 ufrag {ufrag}"),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        username_fragment: Some(ufrag.into()),
    })
}

/// A call with a browser: it sends, we send one track.
fn call(polite: bool) -> Lone {
    let mut lone = Lone::new(polite, everything());
    lone.offer(CHROMIUM);
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(ms(1000));
    lone.answer(&answer(&lone, 0));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    assert_eq!(
        (lone.generations, states(&lone).last()),
        (1, Some(&PeerState::Connected))
    );
    lone
}

/// The browser's offer, with our line in it.
fn reoffer(lone: &Lone) -> String {
    let mut sdp = Sdp::parse(CHROMIUM).unwrap();
    let offers = lone
        .sent
        .iter()
        .rev()
        .find(|(kind, _)| *kind == SdpKind::Offer)
        .unwrap();
    let mut ours = Sdp::parse(&offers.1).unwrap().media.remove(2);
    for name in ["ice-ufrag", "ice-pwd", "fingerprint"] {
        let value = sdp.media[0].attribute(name).unwrap().to_owned();
        ours.set(name, &value);
    }
    for line in &mut ours.lines {
        if line == "a=sendonly" {
            *line = "a=recvonly".into();
        }
    }
    ours.lines
        .retain(|line| !line.starts_with("a=ssrc") && !line.starts_with("a=msid"));
    ours.set("setup", "actpass");
    sdp.media.push(ours);
    let mids: Vec<String> = sdp
        .media
        .iter()
        .map(|m| m.attribute("mid").unwrap().to_owned())
        .collect();
    sdp.set_bundle(&mids);
    sdp.write()
}

#[test]
fn a_remote_restart_is_answered_in_place() {
    for polite in [true, false] {
        let mut lone = call(polite);
        let (before, shown) = (ufrag(&lone), states(&lone).len());
        (lone.given, lone.candidates) = (Vec::new(), Vec::new());
        lone.offer(&restarted(&reoffer(&lone), 1));
        assert_eq!(lone.last().0, SdpKind::Answer);
        let after = ufrag(&lone);
        assert_ne!(before, after, "an answer to a restart is one");
        assert_eq!((lone.generations, lone.bin.as_ref().unwrap().restarts), (1, 1));
        assert_eq!(lone.last().1.media[0].attribute("setup"), Some("active"));
        // Gathering happens once: what it found is told again, for the new generation.
        assert_eq!(lone.candidates.len(), 4);
        assert!(
            lone.candidates
                .iter()
                .all(|c| c.username_fragment.as_ref() == Some(&after))
        );
        lone.handle(candidate(7, "Brt8"));
        lone.handle(candidate(8, "New1"));
        assert_eq!(lone.given.iter().filter(|c| c.contains("192.0.2.1")).count(), 1);
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        assert_eq!(
            states(&lone).len(),
            shown,
            "nothing was lost, so nothing is shown"
        );
        // What follows keeps the new credentials.
        lone.handle(NegotiatorInput::RemoveTrack(TrackKey(1)));
        lone.pass(ms(1000));
        assert_eq!((lone.last().0, ufrag(&lone)), (SdpKind::Offer, after.clone()));
        lone.answer(&answer(&lone, 1));
        assert_eq!((lone.generations, lone.bin.as_ref().unwrap().restarts), (1, 1));
        assert!(lone.problems.is_empty(), "{:?}", lone.problems);
    }
}

#[test]
fn another_connection_is_no_restart() {
    let offer = restarted(&reoffer(&call(true)), 1);
    let other = |from: &str, to: &str| {
        assert!(offer.contains(from));
        let mut lone = call(true);
        lone.offer(&offer.replace(from, to));
        assert_eq!(lone.generations, 2, "{from}");
    };
    let print = Sdp::parse(CHROMIUM).unwrap().media[0]
        .attribute("fingerprint")
        .unwrap()
        .to_owned();
    other(&print, &format!("sha-256 {}", ["EE"; 32].join(":")));
    // One certificate for all its connections: a bare webrtcbin.
    other("o=- 4611731400430051336", "o=- 4611731400430051337");
    let mut lone = call(true);
    lone.event(SessionEvent::CannotRestart);
    lone.offer(&offer);
    assert_eq!((lone.generations, lone.last().0), (2, SdpKind::Answer));
}

#[test]
fn our_restart_waits_for_the_answer() {
    let mut lone = call(true);
    let before = ufrag(&lone);
    let shown = states(&lone).len();
    lone.candidates.clear();
    lone.handle(NegotiatorInput::RestartIce);
    lone.pass(ms(1000));
    assert_eq!(lone.last().0, SdpKind::Offer);
    let after = ufrag(&lone);
    assert_ne!(before, after);
    assert_eq!(
        lone.bin.as_ref().unwrap().restarts,
        0,
        "the old path is still in use"
    );
    // Relays come with the restart itself.
    assert_eq!(lone.candidates.len(), 3);
    // The answer is lost; the offer is repeated as it was.
    let sent = lone.sent.len();
    lone.pass(ms(15_000));
    assert_eq!((lone.sent.len(), ufrag(&lone)), (sent + 1, after));
    lone.given.clear();
    lone.handle(candidate(9, "New1"));
    assert!(lone.given.is_empty(), "{:?}", lone.given);
    lone.answer(&answer(&lone, 1));
    assert_eq!((lone.generations, lone.bin.as_ref().unwrap().restarts), (1, 1));
    let newest = lone.candidates.last().unwrap();
    assert!(newest.candidate.ends_with("typ relay"), "{newest:?}");
    assert_eq!(newest.username_fragment.as_ref(), Some(&ufrag(&lone)));
    assert_eq!(lone.given.iter().filter(|c| c.contains("192.0.2.1")).count(), 1);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.pass(ms(60_000));
    assert_eq!(states(&lone).len(), shown);
    assert!(lone.problems.is_empty(), "{:?}", lone.problems);
    assert_eq!(lone.sent.len(), sent + 1);
}

#[test]
fn a_peer_that_cannot_restart_is_connected_afresh() {
    // It keeps its credentials, or has another certificate.
    for fresh in [false, true] {
        let mut lone = call(false);
        lone.handle(NegotiatorInput::RestartIce);
        lone.pass(ms(1000));
        let mut text = answer(&lone, u32::from(fresh));
        if fresh {
            let print = Sdp::parse(CHROMIUM).unwrap().media[0]
                .attribute("fingerprint")
                .unwrap()
                .to_owned();
            text = text.replace(&print, &format!("sha-256 {}", ["EE"; 32].join(":")));
        }
        lone.answer(&text);
        assert_eq!(
            (lone.generations, lone.last().0),
            (2, SdpKind::Offer),
            "fresh {fresh}"
        );
        lone.pass(ms(1000));
        assert_eq!(states(&lone).last(), Some(&PeerState::Reconnecting));
    }
    // Not even asked: it would take our offer for a new connection.
    let mut lone = Lone::polite();
    lone.offer(AIORTC);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.event(SessionEvent::Connection(ConnectionState::Failed));
    lone.pass(ms(3000));
    assert_eq!((lone.generations, lone.last().0), (2, SdpKind::Offer));
}

#[test]
fn a_dropped_restart_has_not_happened() {
    for (theirs, expected) in [(0, SdpKind::Offer), (1, SdpKind::Answer)] {
        let mut lone = call(true);
        let before = ufrag(&lone);
        lone.handle(NegotiatorInput::RestartIce);
        lone.pass(ms(1000));
        let (ours, text) = (ufrag(&lone), reoffer(&lone));
        lone.offer(&if theirs == 0 {
            text
        } else {
            restarted(&text, theirs)
        });
        assert_eq!((lone.last().0, lone.generations), (SdpKind::Answer, 1));
        assert_eq!(
            ufrag(&lone) == before,
            theirs == 0,
            "only a restart is answered by one"
        );
        assert_eq!(lone.bin.as_ref().unwrap().restarts, theirs as usize);
        assert_ne!(ufrag(&lone), ours);
        // Ours is still to be done, unless theirs has done it.
        lone.pass(ms(1000));
        assert_eq!(lone.last().0, expected);
    }
}

#[test]
fn a_lost_path_is_restarted_twice() {
    let mut lone = call(true);
    for n in 1..=2 {
        lone.event(SessionEvent::Connection(ConnectionState::Failed));
        assert_eq!(states(&lone).last(), Some(&PeerState::Reconnecting));
        lone.pass(ms(1000));
        assert_eq!((lone.last().0, lone.generations), (SdpKind::Offer, 1), "try {n}");
        lone.answer(&answer(&lone, n));
        assert_eq!(lone.bin.as_ref().unwrap().restarts, n as usize);
    }
    lone.event(SessionEvent::Connection(ConnectionState::Failed));
    lone.pass(ms(1000));
    assert_eq!((lone.last().0, lone.generations), (SdpKind::Offer, 2));
    // One that helps.
    let mut lone = call(true);
    for n in 1..=5 {
        lone.event(SessionEvent::Connection(ConnectionState::Failed));
        lone.pass(ms(1000));
        lone.answer(&answer(&lone, n));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        assert_eq!(states(&lone).last(), Some(&PeerState::Connected));
    }
    lone.pass(ms(100_000));
    assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    // One of which nothing is heard.
    lone.event(SessionEvent::Connection(ConnectionState::Failed));
    lone.pass(ms(1000));
    lone.answer(&answer(&lone, 6));
    lone.pass(ms(100_000));
    assert!(lone.generations > 1, "{:?}", lone.problems);
}

/// libnice asks for 1.5 s, and a path may be back a second later.
#[test]
fn checks_are_repeated_until_there_is_a_path() {
    let mut lone = call(true);
    let repeats = |lone: &Lone| lone.bin.as_ref().unwrap().repeats;
    lone.event(SessionEvent::Connection(ConnectionState::Failed));
    lone.pass(ms(1000));
    lone.answer(&answer(&lone, 1));
    let sent = lone.sent.len();
    for n in 1..=3 {
        lone.pass(ms(2500));
        assert_eq!((repeats(&lone), lone.sent.len()), (n, sent));
    }
    // The peer may have lost what this side has: the second restart.
    lone.pass(ms(3000));
    assert_eq!((lone.sent.len(), lone.last().0), (sent + 1, SdpKind::Offer));
    lone.answer(&answer(&lone, 2));
    lone.pass(ms(3000));
    assert_eq!(repeats(&lone), 4);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.pass(ms(60_000));
    assert_eq!((repeats(&lone), lone.generations), (4, 1));
    assert!(lone.problems.is_empty(), "{:?}", lone.problems);
    // One that is through before needs nothing.
    lone.handle(NegotiatorInput::RestartIce);
    lone.pass(ms(1000));
    lone.answer(&answer(&lone, 3));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.pass(ms(60_000));
    assert_eq!(repeats(&lone), 4);
}

#[test]
fn restarts_of_the_peer_that_come_to_nothing_end() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    for (n, generations) in [(1, 1), (2, 1), (3, 2)] {
        lone.pass(ms(7000));
        lone.offer(&restarted(CHROMIUM, n));
        assert_eq!((lone.generations, lone.last().0), (generations, SdpKind::Answer));
    }
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    for n in 4..9 {
        lone.offer(&restarted(CHROMIUM, n));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
    }
    assert_eq!(lone.generations, 2, "a connection that works is kept");
}

#[test]
fn a_peer_that_was_given_up_is_tried_again_on_demand() {
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(Duration::from_secs(3600));
    assert_eq!(lone.problems.last(), Some(&"IceRestartExhausted"));
    let sent = lone.sent.len();
    lone.handle(NegotiatorInput::RestartIce);
    lone.pass(ms(1000));
    assert_eq!((lone.sent.len(), lone.last().0), (sent + 1, SdpKind::Offer));
}

#[test]
fn a_restart_while_an_offer_is_out_follows_it() {
    let mut lone = call(false);
    lone.handle(NegotiatorInput::AddTrack(track(2, MediaKind::Video)));
    lone.pass(ms(1000));
    let (before, sent) = (ufrag(&lone), lone.sent.len());
    lone.handle(NegotiatorInput::RestartIce);
    lone.pass(ms(1000));
    assert_eq!(lone.sent.len(), sent);
    lone.answer(&answer(&lone, 0));
    lone.pass(ms(1000));
    assert_eq!((lone.sent.len(), lone.last().0), (sent + 1, SdpKind::Offer));
    assert_ne!(ufrag(&lone), before);
    lone.answer(&answer(&lone, 1));
    assert_eq!((lone.generations, lone.bin.as_ref().unwrap().restarts), (1, 1));
}

fn pair(seed: u64, weather: Weather) -> Pair {
    let mut pair = Pair::new(seed, weather, [everything(), everything()]);
    for side in 0..2 {
        pair.at(ms(0), side, NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    }
    pair
}

/// The same switches as in `scenario`.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first = number("NEGOTIATOR_FIRST").unwrap_or(0);
    first..first + number("NEGOTIATOR_SEEDS").unwrap_or(count)
}

fn generations(pair: &Pair) -> usize {
    pair.sides.iter().map(|side| side.bins.len()).sum()
}

fn check(pair: &Pair, seed: u64) {
    pair.verdict().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
}

#[test]
fn either_side_restarts_both_at_once_too() {
    for seed in seeds(300) {
        let mut pair = pair(seed, FAIR);
        pair.run(ms(5000));
        check(&pair, seed);
        let made = generations(&pair);
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..rng.u32(1..6) {
            let at = ms(5000 + rng.u64(0..1500));
            pair.at(at, rng.usize(0..2), NegotiatorInput::RestartIce);
        }
        if seed % 3 == 0 {
            pair.at(
                ms(5700),
                rng.usize(0..2),
                NegotiatorInput::AddTrack(track(2, MediaKind::Video)),
            );
        }
        pair.run(ms(15_000));
        check(&pair, seed);
        assert_eq!(generations(&pair), made, "seed {seed}: in place");
        for side in &pair.sides {
            assert!(side.problems.is_empty(), "seed {seed}: {:?}", side.problems);
            let restarts = side.bins.values().last().unwrap().restarts;
            assert!((1..=5).contains(&restarts), "seed {seed}: {restarts}");
        }
    }
}

#[test]
fn a_dead_path_is_healed_in_place() {
    for seed in seeds(200) {
        let mut pair = pair(seed, FAIR);
        pair.run(ms(5000));
        let made = generations(&pair);
        pair.cut(ms(6000));
        pair.run(ms(12_000));
        assert_eq!(pair.sides[0].state, PeerState::Connected, "not noticed yet");
        pair.run(ms(16_000));
        check(&pair, seed);
        assert_eq!(generations(&pair), made, "seed {seed}: in place");
    }
}

#[test]
fn restarts_in_bad_weather() {
    for seed in seeds(400) {
        let weather = Weather {
            loss: 30,
            until: ms(40_000),
            failures: 3,
        };
        let mut pair = pair(seed, weather);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x1ce);
        for _ in 0..rng.u32(1..8) {
            let at = ms(rng.u64(0..40_000));
            match rng.u32(0..5) {
                0 => pair.cut(at),
                1 => pair.at(
                    at,
                    rng.usize(0..2),
                    NegotiatorInput::AddTrack(track(2, MediaKind::Video)),
                ),
                _ => pair.at(at, rng.usize(0..2), NegotiatorInput::RestartIce),
            }
        }
        pair.run(ms(60_000));
        pair.run(ms(95_000));
        check(&pair, seed);
    }
}

#[test]
fn a_restart_has_the_relays_of_the_newest_welcome() {
    let server = |name: &str| IceServer {
        urls: vec![format!("turn:{name}")],
        username: None,
        credential: None,
    };
    for ours in [true, false] {
        let mut lone = call(true);
        let ice_servers = vec![server("fresh.example")];
        lone.handle(NegotiatorInput::SessionConfig(SessionConfig {
            ice_servers: ice_servers.clone(),
            relay_only: false,
        }));
        for round in 1..3 {
            (lone.candidates, lone.commands) = (Vec::new(), Vec::new());
            if ours {
                lone.handle(NegotiatorInput::RestartIce);
                lone.pass(ms(1000));
                lone.answer(&answer(&lone, round));
            } else {
                lone.offer(&restarted(&reoffer(&lone), round));
            }
            let restart = SessionCommand::RestartIce {
                controlling: ours,
                ice_servers: ice_servers.clone(),
            };
            assert!(lone.commands.contains(&restart), "{:?}", lone.commands);
            // Under the new credentials only the newest relay is named.
            let named: Vec<&str> = lone
                .candidates
                .iter()
                .filter(|candidate| candidate.username_fragment.as_deref() == Some(ufrag(&lone).as_str()))
                .filter(|candidate| candidate.candidate.ends_with("typ relay"))
                .filter_map(|candidate| candidate.candidate.split(' ').nth(5))
                .collect();
            assert_eq!(named, [round.to_string()], "{:?}", lone.candidates);
            lone.event(SessionEvent::Connection(ConnectionState::Connected));
        }
    }
}
