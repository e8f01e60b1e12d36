//! Descriptions as real stacks write them.

use std::time::Duration;

use super::pair::{everything, track};
use super::peer::Lone;
use crate::core::io::{Codec, ConnectionState, MediaKind, SessionEvent, TrackKey};
use crate::core::negotiator::{NegotiatorInput, NegotiatorOutput, ReceivePolicy};
use crate::sdp::model::Sdp;
use crate::sdp::{Remote, check};
use crate::wire::{IceCandidate, SdpKind};

pub const CHROMIUM: &str = include_str!("../../../../tests/fixtures/sdp/chromium-offer.sdp");
pub const CHROMIUM_DATA: &str = include_str!("../../../../tests/fixtures/sdp/chromium-reoffer-data.sdp");
const CHROMIUM_STOPPED: &str = include_str!("../../../../tests/fixtures/sdp/chromium-stopped.sdp");
pub const CHROMIUM_RECYCLED: &str = include_str!("../../../../tests/fixtures/sdp/chromium-recycled.sdp");
const FIREFOX: &str = include_str!("../../../../tests/fixtures/sdp/firefox-offer.sdp");
const FIREFOX_DATA: &str = include_str!("../../../../tests/fixtures/sdp/firefox-offer-data.sdp");
const FIREFOX_ANSWER: &str = include_str!("../../../../tests/fixtures/sdp/firefox-answer.sdp");
/// libwebrtc without a browser, of some years ago.
const WRTC: &str = include_str!("../../../../tests/fixtures/sdp/wrtc-offer.sdp");
const WRTC_DATA: &str = include_str!("../../../../tests/fixtures/sdp/wrtc-offer-data.sdp");
const WRTC_ANSWER: &str = include_str!("../../../../tests/fixtures/sdp/wrtc-answer.sdp");
const AIORTC: &str = include_str!("../../../../tests/fixtures/sdp/aiortc-offer.sdp");
const WEBRTCBIN: &str = include_str!("../../../../tests/fixtures/sdp/webrtcbin-offer.sdp");
const ALL: [&str; 10] = [
    CHROMIUM,
    CHROMIUM_DATA,
    CHROMIUM_STOPPED,
    CHROMIUM_RECYCLED,
    FIREFOX,
    FIREFOX_DATA,
    WRTC,
    WRTC_DATA,
    AIORTC,
    WEBRTCBIN,
];

fn directions(lone: &Lone) -> Vec<(String, &'static str)> {
    lone.directions()
}

fn pairs(list: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    list.iter().map(|(mid, dir)| ((*mid).to_owned(), *dir)).collect()
}

fn formats(lone: &Lone) -> Vec<String> {
    lone.last()
        .1
        .media
        .iter()
        .map(|media| media.formats.join(","))
        .collect()
}

/// The peer's answer to our last offer: it takes everything.
pub fn accept(lone: &Lone, ufrag: &str) -> String {
    let (_, mut sdp) = lone.last();
    let origin = CHROMIUM.lines().find(|line| line.starts_with("o=")).unwrap();
    sdp.session[1] = origin.to_owned();
    // Said by elements of ours only.
    sdp.session.retain(|line| !line.starts_with("a=x-meteredwebrtc"));
    for media in &mut sdp.media {
        media.set("ice-ufrag", ufrag);
        media.set("setup", "active");
        for line in &mut media.lines {
            *line = match line.as_str() {
                "a=sendonly" => "a=recvonly".into(),
                "a=recvonly" => "a=sendonly".into(),
                _ => std::mem::take(line),
            };
        }
        media
            .lines
            .retain(|line| !line.starts_with("a=ssrc") && !line.starts_with("a=msid"));
        if media.has("ice-pwd") {
            let print = Remote::parse(SdpKind::Offer, CHROMIUM)
                .unwrap()
                .bundle
                .unwrap()
                .transport
                .fingerprint;
            media.set("fingerprint", &format!("sha-256 {print}"));
            media.set("ice-pwd", "Wd4kCCuQb9ZlgrVXx9kqTyAS");
        }
    }
    sdp.write()
}

#[test]
fn texts_survive_parsing() {
    for text in ALL {
        assert_eq!(Sdp::parse(text).unwrap().write(), text);
        Remote::parse(SdpKind::Offer, text).unwrap();
    }
}

#[test]
fn first_offers_are_answered() {
    for (text, expected) in [
        (CHROMIUM, [("0", "recvonly", "111"), ("1", "recvonly", "96")]),
        (FIREFOX, [("0", "recvonly", "109"), ("1", "recvonly", "120")]),
        (WRTC, [("0", "recvonly", "111"), ("1", "recvonly", "96")]),
        (AIORTC, [("0", "recvonly", "96"), ("1", "recvonly", "97")]),
        (
            WEBRTCBIN,
            [("audio0", "recvonly", "97"), ("video1", "recvonly", "96")],
        ),
    ] {
        let mut lone = Lone::polite();
        lone.offer(text);
        assert_eq!(lone.sent.len(), 1);
        assert_eq!(lone.last().0, SdpKind::Answer);
        assert_eq!(
            directions(&lone),
            pairs(&expected.map(|(mid, dir, _)| (mid, dir)))
        );
        assert_eq!(formats(&lone), expected.map(|(_, _, format)| format));
        let (_, sdp) = lone.last();
        assert_eq!(sdp.bundle(), expected.map(|(mid, _, _)| mid));
        for media in &sdp.media {
            assert_eq!(media.attribute("setup"), Some("active"));
            assert!(!media.has("extmap") && !media.has("candidate") && media.has("rtcp-mux"));
        }
        assert!(
            lone.candidates
                .iter()
                .all(|c| c.sdp_mid.as_deref() == Some(expected[0].0))
        );
        assert_eq!(lone.candidates.len(), 3);
    }
}

/// What they say to an offer of sound and pictures, when they only watch.
#[test]
fn answers_are_taken() {
    for text in [FIREFOX_ANSWER, WRTC_ANSWER] {
        let mut lone = Lone::polite();
        for (key, kind) in [(1, MediaKind::Audio), (2, MediaKind::Video)] {
            lone.handle(NegotiatorInput::AddTrack(track(key, kind)));
        }
        lone.pass(Duration::from_secs(2));
        let (kind, offer) = lone.last();
        assert_eq!(kind, SdpKind::Offer);
        // The answer was to another offer: with other mids, which were as long.
        let theirs = Sdp::parse(text).unwrap();
        let answer = theirs
            .bundle()
            .iter()
            .zip(offer.bundle())
            .fold(text.to_owned(), |text, (old, new)| text.replace(old, new));
        lone.answer(&answer);
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        lone.pass(Duration::from_secs(60));
        let routing = &lone.bin.as_ref().unwrap().routing;
        assert_eq!(routing.sending, offer.bundle());
        assert!(routing.receiving.is_empty());
        assert_eq!((lone.sent.len(), lone.generations), (1, 1), "no loop");
        assert!(lone.problems.is_empty());
    }
}

/// The application's data channel comes first, its media later.
#[test]
fn a_channel_alone_is_answered() {
    for (text, then) in [(FIREFOX_DATA, FIREFOX), (WRTC_DATA, WRTC)] {
        let mut lone = Lone::polite();
        lone.offer(text);
        assert_eq!(lone.last().0, SdpKind::Answer);
        assert_eq!(directions(&lone), pairs(&[("0", "none")]));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        let mut more = Sdp::parse(text).unwrap();
        let credentials =
            ["ice-ufrag", "ice-pwd"].map(|key| more.media[0].attribute(key).unwrap().to_owned());
        for (media, mid) in Sdp::parse(then).unwrap().media.into_iter().zip(["1", "2"]) {
            more.media.push(media);
            let media = more.media.last_mut().unwrap();
            media.set("mid", mid);
            media.set("ice-ufrag", &credentials[0]);
            media.set("ice-pwd", &credentials[1]);
            if media.has("fingerprint") {
                let own = more.media[0].attribute("fingerprint").unwrap().to_owned();
                more.media.last_mut().unwrap().set("fingerprint", &own);
            }
        }
        more.set_bundle(&["0", "1", "2"].map(str::to_owned));
        lone.offer(&more.write());
        let expected = [("0", "none"), ("1", "recvonly"), ("2", "recvonly")];
        assert_eq!(directions(&lone), pairs(&expected));
        assert_eq!((lone.sent.len(), lone.generations), (2, 1), "in place");
        assert!(lone.problems.is_empty());
    }
}

#[test]
fn what_is_not_taken_is_inactive() {
    let mut lone = Lone::new(
        true,
        ReceivePolicy {
            audio: vec![],
            video: vec![Codec::H264],
        },
    );
    lone.offer(CHROMIUM);
    assert_eq!(directions(&lone), pairs(&[("0", "inactive"), ("1", "recvonly")]));
    assert_eq!(formats(&lone)[1], "108", "constrained baseline, mode 1");
    // No H264 in this one: still an answer.
    let mut lone = Lone::new(
        true,
        ReceivePolicy {
            audio: vec![Codec::Opus],
            video: vec![Codec::H264],
        },
    );
    lone.offer(FIREFOX);
    assert_eq!(directions(&lone), pairs(&[("0", "recvonly"), ("1", "inactive")]));
}

#[test]
fn own_media_gets_own_lines() {
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
    lone.offer(CHROMIUM);
    lone.pass(Duration::from_secs(1));
    let (kind, sdp) = lone.last();
    assert_eq!(kind, SdpKind::Offer);
    assert_eq!(sdp.media.len(), 3);
    assert_eq!(
        directions(&lone)[..2],
        pairs(&[("0", "recvonly"), ("1", "recvonly")])
    );
    let own = &sdp.media[2];
    assert!(own.has("sendonly"));
    assert_eq!(own.attribute("msid"), Some("s1 t1"));
    assert_eq!(own.attribute("setup"), Some("actpass"));
    assert!(
        lone.bin.as_ref().unwrap().routing.sending.is_empty(),
        "not before the answer"
    );
    lone.answer(&accept(&lone, "Brt8"));
    assert_eq!(lone.bin.as_ref().unwrap().routing.sending.len(), 1);
    lone.pass(Duration::from_secs(3));
    assert_eq!(lone.sent.len(), 2);
}

#[test]
fn a_browsers_life() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.event(SessionEvent::MediaArrived {
        mid: "1".into(),
        codec: Codec::Vp8,
    });
    assert!(
        lone.others
            .iter()
            .any(|o| matches!(o, NegotiatorOutput::TrackAdded(t) if t.track_id.as_deref() == Some("v1")))
    );
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(Duration::from_secs(1));
    lone.answer(&accept(&lone, "Brt8"));
    let own = directions(&lone)[2].0.clone();
    // Removes video, adds a channel; knows our line, too.
    let with_ours = |text: &str| {
        let mut sdp = Sdp::parse(text).unwrap();
        let mut ours = Sdp::parse(&accept(&lone, "Brt8")).unwrap().media.remove(2);
        ours.set("setup", "actpass");
        sdp.media.insert(2, ours);
        let mids: Vec<String> = sdp
            .media
            .iter()
            .filter(|m| m.port != 0)
            .map(|m| m.attribute("mid").unwrap().to_owned())
            .collect();
        sdp.set_bundle(&mids);
        sdp.write()
    };
    let texts = [CHROMIUM_DATA, CHROMIUM_STOPPED, CHROMIUM_RECYCLED].map(with_ours);
    lone.offer(&texts[0]);
    let expected = [
        ("0", "recvonly"),
        ("1", "inactive"),
        (own.as_str(), "sendonly"),
        ("2", "none"),
    ];
    assert_eq!(directions(&lone), pairs(&expected));
    assert!(
        lone.others
            .iter()
            .any(|o| matches!(o, NegotiatorOutput::TrackRemoved(..)))
    );
    lone.offer(&texts[1]);
    assert_eq!(directions(&lone)[1].1, "rejected");
    lone.offer(&texts[2]);
    assert_eq!(directions(&lone)[1], ("3".to_owned(), "recvonly"));
    assert_eq!(lone.last().1.media[0].attribute("setup"), Some("active"));
    assert_eq!(lone.generations, 1, "all in place");
    assert!(lone.problems.is_empty());
    let routing = &lone.bin.as_ref().unwrap().routing;
    assert_eq!(routing.sending, [own]);
    assert_eq!(
        routing
            .receiving
            .iter()
            .map(|m| m.mid.as_str())
            .collect::<Vec<_>>(),
        ["0", "1"],
        "the line of the stopped one is used again"
    );
    assert_eq!(routing.receiving[1].ssrcs, [3001]);
}

#[test]
fn a_new_ice_generation_means_a_new_webrtcbin() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    lone.offer(&CHROMIUM.replace("Brt8", "Xyz9"));
    assert_eq!(lone.generations, 2);
    assert_eq!(lone.sent.len(), 2);
    // Five within one moment: the last is answered, later.
    for n in 0..5 {
        lone.offer(&CHROMIUM.replace("Brt8", &format!("Gen{n}")));
    }
    lone.pass(Duration::from_secs(2));
    let used = lone.bin.as_ref().unwrap().remote_ufrag();
    assert_eq!(used.as_deref(), Some("Gen4"));
    assert!(lone.generations <= 5, "{} generations", lone.generations);
}

#[test]
fn collisions() {
    for polite in [true, false] {
        let mut lone = Lone::new(polite, everything());
        lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
        lone.pass(Duration::from_millis(450));
        assert_eq!(lone.sent.len(), 1);
        lone.offer(CHROMIUM);
        if polite {
            assert_eq!((lone.last().0, lone.generations), (SdpKind::Answer, 2));
        } else {
            assert_eq!((lone.sent.len(), lone.generations), (1, 1));
            lone.pass(Duration::from_secs(6));
            assert_eq!(
                lone.last().0,
                SdpKind::Offer,
                "gave way, answered, and offered its own line"
            );
            assert_eq!(lone.sent[1].0, SdpKind::Answer);
        }
    }
}

#[test]
fn codecs_are_tried_one_after_the_other() {
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
    for codec in ["VP8/90000", "H264/90000"] {
        lone.pass(Duration::from_secs(2));
        let (kind, sdp) = lone.last();
        assert_eq!(kind, SdpKind::Offer);
        assert!(
            sdp.media
                .last()
                .unwrap()
                .attribute("rtpmap")
                .unwrap()
                .ends_with(codec)
        );
        let mut answer = Sdp::parse(&accept(&lone, "Brt8")).unwrap();
        for media in &mut answer.media {
            media.port = 0;
        }
        answer.set_bundle(&[]);
        lone.answer(&answer.write());
    }
    assert_eq!(lone.problems, ["no_common_codec"]);
    let before = lone.sent.len();
    lone.pass(Duration::from_secs(120));
    assert_eq!(lone.sent.len(), before, "no loop");
}

#[test]
fn a_refused_codec_is_replaced_beside_a_line_that_stays() {
    let mut lone = Lone::polite();
    for (key, kind) in [(1, MediaKind::Audio), (2, MediaKind::Video)] {
        lone.handle(NegotiatorInput::AddTrack(track(key, kind)));
    }
    lone.pass(Duration::from_secs(1));
    let mut answer = Sdp::parse(&accept(&lone, "Brt8")).unwrap();
    answer.media[1].port = 0;
    let first = answer.bundle()[0].to_owned();
    answer.set_bundle(&[first]);
    lone.answer(&answer.write());
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.pass(Duration::from_secs(1));
    assert_eq!(lone.last().1.media.len(), 2, "in the place of the refused one");
    let map = lone.last().1.media[1].attribute("rtpmap").unwrap().to_owned();
    assert!(map.ends_with("H264/90000"), "{map}");
    lone.answer(&accept(&lone, "Brt8"));
    lone.pass(Duration::from_secs(60));
    assert_eq!((lone.sent.len(), lone.generations), (2, 1), "no loop");
    assert_eq!(lone.bin.as_ref().unwrap().routing.sending.len(), 2);
}

#[test]
fn unanswered_offers_are_repeated_then_replaced() {
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(Duration::from_secs(14));
    assert_eq!((lone.sent.len(), lone.generations), (1, 1));
    lone.pass(Duration::from_secs(3));
    assert_eq!((lone.sent.len(), lone.generations), (2, 1));
    lone.pass(Duration::from_secs(15));
    assert_eq!((lone.sent.len(), lone.generations), (3, 2));
    lone.pass(Duration::from_secs(3600));
    assert_eq!(
        lone.problems
            .iter()
            .filter(|code| **code == "IceRestartExhausted")
            .count(),
        1
    );
    assert!(lone.generations <= 11);
}

#[test]
fn candidates_are_sorted_out() {
    let candidate = |text: &str, mid: &str, ufrag: Option<&str>| {
        NegotiatorInput::Candidate(IceCandidate {
            candidate: text.into(),
            sdp_mid: Some(mid.into()),
            sdp_mline_index: None,
            username_fragment: ufrag.map(str::to_owned),
        })
    };
    let mut lone = Lone::polite();
    lone.handle(candidate(
        "candidate:9 1 udp 1 192.0.2.1 9 typ host",
        "0",
        Some("Brt8"),
    ));
    lone.offer(CHROMIUM);
    lone.handle(candidate("candidate:1 1 UDP 1 192.0.2.1 1 typ host", "0", None));
    for (text, mid, ufrag) in [
        ("candidate:2 1 udp 1 192.0.2.1 2 typ host", "1", None),
        ("candidate:3 1 udp 1 192.0.2.1 3 typ host", "0", Some("old1")),
        (
            "candidate:4 1 udp 1 192.0.2.1 4 typ host generation 0 ufrag old1",
            "0",
            None,
        ),
        (
            "candidate:5 1 tcp 1 192.0.2.1 9 typ host tcptype active",
            "0",
            None,
        ),
        ("candidate:6 2 udp 1 192.0.2.1 6 typ host", "0", None),
        ("nonsense", "0", None),
        ("candidate:7 1 udp 1 192.0.2.1\n 7 typ host", "0", None),
        ("", "1", None),
    ] {
        lone.handle(candidate(text, mid, ufrag));
    }
    assert_eq!(lone.given.len(), 2, "{:?}", lone.given);
    for n in 0..300 {
        lone.handle(candidate(
            &format!("candidate:{n} 1 udp 1 192.0.2.1 {n} typ host"),
            "0",
            None,
        ));
    }
    assert!(lone.given.len() <= 200);
    lone.handle(NegotiatorInput::EndOfCandidates);
    lone.handle(NegotiatorInput::EndOfCandidates);
    assert_eq!(lone.given.iter().filter(|c| c.is_empty()).count(), 1);
    let mut lone = Lone::polite();
    lone.offer(AIORTC);
    assert_eq!(
        lone.given.len(),
        3,
        "from the description, with its end: {:?}",
        lone.given
    );
}

#[test]
fn bad_offers_change_nothing() {
    let mut lone = Lone::polite();
    for text in [
        "hello".to_owned(),
        CHROMIUM.replace("a=mid:1", "a=mid:0"),
        CHROMIUM.replace("a=ice-ufrag:Brt8\r\n", ""),
        CHROMIUM.replace("a=setup:actpass\r\n", ""),
        CHROMIUM.replace("sha-256", "sha-1"),
        CHROMIUM.replace("BUNDLE 0 1", "BUNDLE 0 7"),
        CHROMIUM.replace("a=rtcp-mux\r\n", ""),
        "v=0\r\n".to_owned() + &"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(65),
    ] {
        lone.offer(&text);
    }
    assert_eq!(lone.problems, ["invalid_description"; 8]);
    assert_eq!((lone.sent.len(), lone.generations), (0, 0));
    let empty = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE\r\n";
    assert!(check::is_empty_offer(empty));
    lone.offer(empty);
    assert_eq!(lone.problems.len(), 8, "an offer of nothing is no error");
}

#[test]
fn a_removed_track_leaves_a_quiet_line() {
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(Duration::from_secs(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.handle(NegotiatorInput::RemoveTrack(TrackKey(1)));
    assert!(lone.bin.as_ref().unwrap().routing.sending.is_empty());
    lone.pass(Duration::from_secs(1));
    assert_eq!(directions(&lone)[0].1, "inactive");
    lone.answer(&accept(&lone, "Brt8"));
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Audio)));
    lone.pass(Duration::from_secs(1));
    assert_eq!(directions(&lone)[0].1, "sendonly");
    assert_eq!(lone.generations, 1);
}

/// Found by fuzzing: two quick changes of an application made an offer without a single section.
#[test]
fn an_offer_that_has_become_pointless_is_not_sent() {
    let mut lone = Lone::polite();
    let add = || NegotiatorInput::AddTrack(track(0, MediaKind::Video));
    lone.negotiator.handle(lone.now, add());
    lone.now += Duration::from_secs(1);
    lone.negotiator.handle_timeout(lone.now);
    // webrtcbin is asked for the offer only now, when its track has gone.
    lone.handle(NegotiatorInput::RemoveTrack(TrackKey(0)));
    assert!(lone.sent.is_empty(), "{:?}", lone.sent);
    assert!(lone.bin.as_ref().is_some_and(|bin| bin.disposed));
    assert_eq!(lone.negotiator.poll_timeout(), None);
    lone.handle(add());
    lone.pass(Duration::from_secs(1));
    assert_eq!((lone.sent.len(), lone.generations), (1, 2));
}

#[test]
fn only_our_own_kind_says_that_it_keeps_connections() {
    for text in ALL {
        assert!(!Remote::parse(SdpKind::Offer, text).unwrap().keeps);
    }
    let (session, media) = CHROMIUM.split_once("m=").unwrap();
    let text = format!("{session}a=x-meteredwebrtc:later keep\r\nm={media}");
    assert!(Remote::parse(SdpKind::Offer, &text).unwrap().keeps);
}
