//! Random wire descriptions against the model of webrtcbin: whatever a peer sends, the internal world keeps I1 to I8
//! (the model panics where webrtcbin would abort), and the wire answers are well-formed.

use std::time::Duration;

use super::golden::accept;
use super::pair::track;
use super::peer::Lone;
use crate::core::io::{ConnectionState, MediaKind, TrackKey};
use crate::core::negotiator::{NegotiatorInput, SessionEvent};
use crate::sdp::model::{Media, Sdp};
use crate::sdp::transport::Setup;
use crate::wire::SdpKind;

/// A peer that makes offers out of whatever it likes.
struct Wild {
    rng: fastrand::Rng,
    media: Vec<Media>,
    ufrag: String,
    mids: u32,
}

const FORMATS: [(&str, &str, &str); 9] = [
    ("audio", "111", "a=rtpmap:111 opus/48000/2"),
    ("audio", "0", "a=rtpmap:0 PCMU/8000"),
    ("audio", "9", "a=rtpmap:9 G722/8000"),
    ("video", "96", "a=rtpmap:96 VP8/90000"),
    ("video", "120", "a=rtpmap:120 VP8/90000"),
    ("video", "102", "a=rtpmap:102 H264/90000"),
    ("video", "109", "a=rtpmap:109 H265/90000"),
    ("application", "webrtc-datachannel", "a=sctp-port:5000"),
    ("text", "98", "a=rtpmap:98 t140/1000"),
];

impl Wild {
    fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            media: Vec::new(),
            ufrag: format!("uf{seed}"),
            mids: 0,
        }
    }

    fn section(&mut self) -> Media {
        let (kind, format, map) = FORMATS[self.rng.usize(0..FORMATS.len())];
        self.mids += 1;
        let mut lines = vec![
            format!("a=mid:{}", self.mids),
            "a=rtcp-mux".into(),
            map.to_owned(),
        ];
        if format == "102" {
            lines.push("a=fmtp:102 packetization-mode=1;profile-level-id=42e01f".into());
        }
        lines.push(format!("a=ssrc:{} cname:x", self.rng.u32(1..9999)));
        let proto = if kind == "application" {
            "UDP/DTLS/SCTP"
        } else {
            "UDP/TLS/RTP/SAVPF"
        };
        Media {
            media: kind.into(),
            port: 9,
            proto: proto.into(),
            formats: vec![format.into()],
            lines,
        }
    }

    fn mutate(&mut self) {
        let count = self.media.len();
        let at = if count == 0 { 0 } else { self.rng.usize(0..count) };
        match self.rng.u32(0..14) {
            0..=4 if count < 12 => {
                let section = self.section();
                self.media.push(section);
            }
            5 if count > 1 => self.media[at].port = 0,
            6 if count > 0 => self.media[at].port = 9,
            7 if count > 0 => self.media[at] = self.section(),
            8 if count > 1 => self.media.swap(0, at),
            9 if count > 1 => drop(self.media.remove(at)),
            10 if count > 0 => {
                let mid = self.media[at].attribute("mid").unwrap_or_default().to_owned();
                self.media[at] = self.section();
                self.media[at].set("mid", &mid);
            }
            11 => self.ufrag = format!("uf{}", self.rng.u32(..)),
            _ if count > 0 => {
                let name = ["sendrecv", "sendonly", "recvonly", "inactive"][self.rng.usize(0..4)];
                for old in ["sendrecv", "sendonly", "recvonly", "inactive"] {
                    self.media[at].remove(old);
                }
                self.media[at].lines.push(format!("a={name}"));
            }
            _ => {}
        }
    }

    fn offer(&mut self) -> String {
        let mut media = self.media.clone();
        let setup = if self.rng.u32(0..8) == 0 {
            Setup::Active
        } else {
            Setup::Actpass
        };
        for section in &mut media {
            section.set("ice-ufrag", &self.ufrag);
            section.set("ice-pwd", "passwordpasswordpassword");
            section.set("setup", setup.as_str());
            section.set("fingerprint", &format!("sha-256 {}", ["cd"; 32].join(":")));
        }
        let mut sdp = Sdp {
            session: vec!["v=0".into(), "s=-".into()],
            media,
        };
        let live = |m: &&Media| m.port != 0;
        let mids: Vec<String> = sdp
            .media
            .iter()
            .filter(live)
            .filter_map(|m| m.attribute("mid").map(str::to_owned))
            .collect();
        sdp.set_bundle(&mids);
        if mids.is_empty() {
            sdp.session.push("a=group:BUNDLE".into());
        }
        sdp.write()
    }

    /// An answer to our last offer, right or wrong. Remembers the sections.
    fn answer(&mut self, lone: &Lone) -> String {
        let mut sdp = Sdp::parse(&accept(lone, &self.ufrag)).unwrap();
        match self.rng.u32(0..8) {
            0 => drop(sdp.media.pop()),
            1 | 2 => {
                for media in &mut sdp.media {
                    if self.rng.bool() {
                        media.port = 0;
                    }
                }
            }
            3 => sdp
                .media
                .iter_mut()
                .for_each(|media| media.set("setup", "passive")),
            _ => {}
        }
        let mids: Vec<String> = sdp
            .media
            .iter()
            .filter(|m| m.port != 0)
            .filter_map(|m| m.attribute("mid").map(str::to_owned))
            .collect();
        sdp.set_bundle(&mids);
        self.media.clone_from(&sdp.media);
        sdp.write()
    }
}

/// An answer has the sections of its offer, and bundles what it does not reject.
fn check_answer(offer: &str, answer: &Sdp) {
    let offer = Sdp::parse(offer).unwrap();
    assert_eq!(offer.media.len(), answer.media.len());
    for (theirs, ours) in offer.media.iter().zip(&answer.media) {
        assert_eq!(
            (&theirs.media, theirs.attribute("mid")),
            (&ours.media, ours.attribute("mid"))
        );
        assert!(
            theirs.port != 0 || ours.port == 0,
            "a rejected section is answered"
        );
        assert_ne!(ours.attribute("setup"), Some("actpass"));
        assert!(ours.port == 0 || ours.attribute("setup") != theirs.attribute("setup"));
        assert!(
            ours.port == 0 || theirs.formats.contains(&ours.formats[0]),
            "a format that was not offered"
        );
        let can = |media: &Media, dirs: [&str; 2]| dirs.iter().any(|dir| media.has(dir));
        let quiet = theirs.has("inactive") || theirs.has("recvonly");
        assert!(
            !(quiet && can(ours, ["recvonly", "sendrecv"])),
            "receives what is not sent"
        );
    }
    let live: Vec<&str> = answer
        .media
        .iter()
        .filter(|m| m.port != 0)
        .filter_map(|m| m.attribute("mid"))
        .collect();
    assert_eq!(answer.bundle(), live);
}

#[test]
fn any_sequence_of_descriptions() {
    let seeds = std::env::var("NEGOTIATOR_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1000);
    let first = std::env::var("NEGOTIATOR_FIRST")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let mut answered = 0;
    for seed in first..first + seeds {
        eprintln!("seed {seed}");
        answered += one_life(seed);
    }
    assert!(answered > seeds, "too few offers were answered: {answered}");
}

fn one_life(seed: u64) -> u64 {
    let mut wild = Wild::new(seed);
    let mut lone = Lone::new(wild.rng.bool(), super::pair::everything());
    let mut answered = 0;
    for _ in 0..wild.rng.u32(3..30) {
        match wild.rng.u32(0..10) {
            0 | 1 => {
                let key = wild.rng.u32(1..5);
                let kind = if key.is_multiple_of(2) {
                    MediaKind::Audio
                } else {
                    MediaKind::Video
                };
                lone.handle(NegotiatorInput::AddTrack(track(key, kind)));
            }
            2 => lone.handle(NegotiatorInput::RemoveTrack(TrackKey(wild.rng.u32(1..5)))),
            3 => lone.pass(Duration::from_millis(wild.rng.u64(1..3000))),
            4 if lone.bin.is_some() => lone.event(SessionEvent::Connection(ConnectionState::Connected)),
            5 | 6 if lone.sent.last().is_some_and(|(kind, _)| *kind == SdpKind::Offer) => {
                let text = wild.answer(&lone);
                lone.answer(&text);
            }
            _ => {
                for _ in 0..wild.rng.u32(1..4) {
                    wild.mutate();
                }
                let text = wild.offer();
                let before = lone.sent.len();
                lone.offer(&text);
                if let Some((SdpKind::Answer, answer)) = lone.sent.get(before) {
                    check_answer(&text, &Sdp::parse(answer).unwrap());
                    answered += 1;
                }
            }
        }
    }
    lone.pass(Duration::from_secs(600));
    assert!(lone.generations < 60, "{} generations", lone.generations);
    answered
}
