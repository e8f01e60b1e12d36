//! Peers whose re-offers number the formats anew. aiortc does: every offer it makes has the numbers of its own table,
//! whatever was agreed on before, and it never restarts ICE. So such an offer must be answered by the same webrtcbin.

use std::time::Duration;

use super::golden::accept;
use super::pair::track;
use super::peer::Lone;
use crate::core::io::{ConnectionState, MediaKind, SessionEvent, TrackKey};
use crate::core::negotiator::{NegotiatorInput, ReceivePolicy};
use crate::sdp::model::Sdp;
use crate::wire::SdpKind;

/// The formats aiortc 1.16 offers for pictures and sound.
const PICTURES: &[&str] = &[
    "97 VP8/90000",
    "98 rtx/90000",
    "99 H264/90000",
    "100 rtx/90000",
    "101 H264/90000",
    "102 rtx/90000",
];
const SOUND: &[&str] = &["96 opus/48000/2", "9 G722/8000", "0 PCMU/8000", "8 PCMA/8000"];

/// A sink that has offered its tracks, which the peer takes.
fn sink(kinds: &[MediaKind]) -> Lone {
    let (audio, video) = (Vec::new(), Vec::new());
    let mut lone = Lone::new(false, ReceivePolicy { audio, video });
    for (key, kind) in (1..).zip(kinds) {
        lone.handle(NegotiatorInput::AddTrack(track(key, *kind)));
    }
    lone.pass(Duration::from_secs(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    assert_eq!(lone.bin.as_ref().unwrap().routing.sending.len(), kinds.len());
    lone
}

/// The offer with which the peer announces media of its own, on the lines that are there.
fn follow_up(lone: &Lone, pictures: &[&str], sound: &[&str]) -> String {
    let mut sdp = Sdp::parse(&accept(lone, "Brt8")).unwrap();
    for media in &mut sdp.media {
        let maps = if media.media == "video" { pictures } else { sound };
        let number = |map: &&str| map.split(' ').next().unwrap().to_owned();
        media.formats = maps.iter().map(number).collect();
        media.lines.retain(|line| {
            !["a=rtpmap", "a=fmtp", "a=rtcp-fb"]
                .iter()
                .any(|name| line.starts_with(name))
        });
        for line in &mut media.lines {
            if ["a=recvonly", "a=inactive"].contains(&line.as_str()) {
                *line = "a=sendrecv".into();
            }
        }
        media.set("setup", "actpass");
        media
            .lines
            .extend(maps.iter().map(|map| format!("a=rtpmap:{map}")));
        for pt in maps.iter().filter(|map| map.contains("H264")).map(number) {
            let level = if pt == "99" { "42001f" } else { "42e01f" };
            media.lines.push(format!(
                "a=fmtp:{pt} packetization-mode=1;profile-level-id={level}"
            ));
        }
    }
    sdp.write()
}

fn formats(lone: &Lone) -> Vec<String> {
    lone.last()
        .1
        .media
        .iter()
        .map(|media| media.formats.join(","))
        .collect()
}

#[test]
fn our_numbers_are_those_of_aiortc() {
    let mut lone = sink(&[MediaKind::Video, MediaKind::Audio]);
    let sending = lone.bin.as_ref().unwrap().routing.sending.clone();
    lone.offer(&follow_up(&lone, PICTURES, SOUND));
    lone.pass(Duration::from_secs(5));
    assert_eq!(lone.sent.len(), 2, "an offer, an answer, and no more");
    assert_eq!(lone.last().0, SdpKind::Answer);
    assert_eq!(formats(&lone), ["97", "96"]);
    assert!(
        lone.directions()
            .iter()
            .all(|(_, direction)| *direction == "sendonly")
    );
    assert_eq!(lone.generations, 1);
    assert_eq!(lone.bin.as_ref().unwrap().routing.sending, sending);
}

#[test]
fn other_numbers_get_other_lines() {
    let mut lone = sink(&[MediaKind::Video, MediaKind::Audio]);
    let old = lone.bin.as_ref().unwrap().routing.sending.clone();
    lone.offer(&follow_up(&lone, &["107 H264/90000", "120 VP8/90000"], SOUND));
    assert_eq!(lone.last().0, SdpKind::Answer);
    let quiet = |mid: &String| lone.directions().contains(&(mid.clone(), "inactive"));
    assert_eq!(old.iter().map(quiet).collect::<Vec<_>>(), [true, false]);
    lone.pass(Duration::from_secs(1));
    assert_eq!(lone.last().0, SdpKind::Offer);
    assert_eq!(formats(&lone)[2], "120", "as the peer calls it");
    lone.answer(&accept(&lone, "Brt8"));
    let sending = lone.bin.as_ref().unwrap().routing.sending.clone();
    assert_eq!(sending.len(), 2);
    assert!(!sending.contains(&old[0]) && sending.contains(&old[1]));
    // From now on both mean the same.
    lone.offer(&follow_up(&lone, &["107 H264/90000", "120 VP8/90000"], SOUND));
    lone.pass(Duration::from_secs(60));
    assert_eq!((lone.sent.len(), lone.generations), (4, 1), "no loop");
    assert_eq!(lone.bin.as_ref().unwrap().routing.sending, sending);
    assert!(lone.problems.is_empty());
    // The line that is used is the one that goes quiet.
    lone.handle(NegotiatorInput::RemoveTrack(TrackKey(1)));
    lone.pass(Duration::from_secs(1));
    assert_eq!(lone.directions()[2].1, "inactive");
}

#[test]
fn a_number_that_is_taken_needs_a_new_connection() {
    let mut lone = sink(&[MediaKind::Video, MediaKind::Audio]);
    lone.offer(&follow_up(&lone, &["96 VP8/90000"], &["111 opus/48000/2"]));
    assert_eq!(lone.generations, 2);
}

#[test]
fn moving_for_ever_ends_in_a_new_connection() {
    let mut lone = sink(&[MediaKind::Video]);
    for round in 0..40 {
        let map = format!("{} VP8/90000", 100 + round % 2);
        lone.offer(&follow_up(&lone, &[&map], SOUND));
        lone.pass(Duration::from_secs(1));
        lone.answer(&accept(&lone, "Brt8"));
        assert!(lone.last().1.media.len() < 20);
    }
    assert!(lone.generations > 1);
}

/// An offer that comes before DTLS is up is answered afterwards: aiortc would never send what it brings.
#[test]
fn what_a_second_round_brings_waits_for_the_connection() {
    for connects in [true, false] {
        let (audio, video) = (Vec::new(), Vec::new());
        let mut lone = Lone::new(false, ReceivePolicy { audio, video });
        lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
        lone.pass(Duration::from_secs(1));
        lone.answer(&accept(&lone, "Brt8").replace("a=ice-options:trickle\r\n", ""));
        let answers = |lone: &Lone| {
            lone.sent
                .iter()
                .filter(|(kind, _)| *kind == SdpKind::Answer)
                .count()
        };
        lone.offer(&follow_up(&lone, PICTURES, SOUND));
        lone.pass(Duration::from_millis(500));
        assert_eq!(answers(&lone), 0);
        if connects {
            lone.event(SessionEvent::Connection(ConnectionState::Connected));
        } else {
            lone.pass(Duration::from_secs(3));
        }
        assert_eq!((answers(&lone), lone.generations), (1, 1));
        assert!(lone.problems.is_empty(), "{:?}", lone.problems);
    }
}
