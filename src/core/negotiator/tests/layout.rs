//! New connections towards peers that kept theirs.

use std::time::Duration;

use super::golden::{CHROMIUM, CHROMIUM_DATA, accept};
use super::pair::{everything, track};
use super::peer::Lone;
use crate::core::io::{Codec, ConnectionState, MediaKind, SessionConfig, SessionEvent};
use crate::core::negotiator::{NegotiatorConfig, NegotiatorInput, ReceivePolicy};
use crate::sdp::model::Sdp;
use crate::wire::SdpKind;

/// Connected with a browser that sends (`offer`) and that our track goes to.
fn call(polite: bool, offer: &str) -> Lone {
    let mut lone = Lone::new(polite, everything());
    lone.offer(offer);
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
    lone.pass(Duration::from_secs(1));
    lone.answer(&accept(&lone, "Brt8"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone
}

/// aiortc, which is known by not trickling, would put its own media on our lines.
#[test]
fn a_peer_that_starts_over_is_offered_what_a_stranger_is() {
    for polite in [true, false] {
        let mut lone = Lone::new(polite, everything());
        let silent = |sdp: &str| sdp.replace("a=ice-options:trickle\r\n", "");
        lone.offer(&silent(CHROMIUM));
        lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
        lone.pass(Duration::from_secs(1));
        assert_eq!(lone.directions().len(), 3);
        lone.answer(&silent(&accept(&lone, "Brt8")));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        renew(&mut lone, polite, everything());
        let directions: Vec<&str> = lone.directions().iter().map(|(_, dir)| *dir).collect();
        assert_eq!((lone.generations, directions), (2, vec!["sendonly"]));
    }
}

fn renew(lone: &mut Lone, polite: bool, receive: ReceivePolicy) {
    let config = NegotiatorConfig {
        keeps: true,
        polite,
        receive,
        session: SessionConfig::default(),
        seed: 7,
    };
    lone.negotiator.renew(lone.now, config);
    lone.pass(Duration::from_secs(3));
}

/// Kind, mid and payload type of each section.
fn places(sdp: &Sdp) -> Vec<(String, String, String)> {
    let place = |media: &crate::sdp::model::Media| {
        let mid = media.attribute("mid").unwrap().to_owned();
        (media.media.clone(), mid, media.formats[0].clone())
    };
    sdp.media.iter().map(place).collect()
}

#[test]
fn the_offer_has_the_layout_the_peer_knows() {
    for polite in [true, false] {
        let mut lone = Lone::new(polite, everything());
        lone.offer(CHROMIUM);
        lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
        lone.pass(Duration::from_secs(1));
        let before = places(&lone.last().1);
        lone.answer(&accept(&lone, "Brt8"));
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        for round in 2..5 {
            renew(&mut lone, polite, everything());
            let (kind, offer) = lone.last();
            assert_eq!((kind, lone.generations), (SdpKind::Offer, round));
            assert_eq!(places(&offer), before);
            let directions: Vec<&str> = lone.directions().iter().map(|(_, dir)| *dir).collect();
            assert_eq!(directions, ["recvonly", "recvonly", "sendonly"]);
            lone.answer(&accept(&lone, &format!("Ufr{round}")));
            let routing = &lone.bin.as_ref().unwrap().routing;
            assert_eq!((routing.sending.len(), routing.receiving.len()), (1, 2));
            assert_eq!(routing.receiving[1].payload_types, [96]);
        }
        assert!(lone.problems.is_empty());
    }
}

#[test]
fn a_data_section_keeps_its_place() {
    let mut lone = call(true, CHROMIUM_DATA);
    renew(&mut lone, true, everything());
    let kinds: Vec<String> = places(&lone.last().1).into_iter().map(|place| place.0).collect();
    assert_eq!(kinds, ["audio", "video", "application", "video"]);
    lone.answer(&accept(&lone, "Next"));
    // In place: it is the connection it seems to be.
    lone.handle(NegotiatorInput::AddTrack(track(2, MediaKind::Audio)));
    lone.pass(Duration::from_secs(1));
    assert_eq!((lone.last().1.media.len(), lone.generations), (5, 2));
}

#[test]
fn what_is_not_wanted_any_more_keeps_its_place() {
    let mut lone = call(true, CHROMIUM);
    lone.handle(NegotiatorInput::RemoveTrack(crate::core::io::TrackKey(1)));
    lone.pass(Duration::from_secs(1));
    lone.answer(&accept(&lone, "Brt8"));
    let (audio, video) = (vec![Codec::Opus], Vec::new());
    renew(&mut lone, true, ReceivePolicy { audio, video });
    let directions: Vec<&str> = lone.directions().iter().map(|(_, dir)| *dir).collect();
    assert_eq!(directions, ["recvonly", "inactive", "rejected"]);
    lone.answer(&accept(&lone, "Next"));
    // The track comes back in the place it had.
    lone.handle(NegotiatorInput::AddTrack(track(1, MediaKind::Video)));
    lone.pass(Duration::from_secs(1));
    let directions: Vec<&str> = lone.directions().iter().map(|(_, dir)| *dir).collect();
    assert_eq!(directions, ["recvonly", "inactive", "sendonly"]);
    assert_eq!(lone.generations, 2);
}

#[test]
fn a_peer_that_renews_too_gets_plain_offers() {
    let mut lone = call(true, CHROMIUM);
    renew(&mut lone, true, everything());
    let own = accept(&lone, "Next");
    let other_end = |text: &str| {
        let mut sdp = Sdp::parse(text).unwrap();
        for media in &mut sdp.media {
            media.set("fingerprint", &format!("sha-256 {}", ["0C"; 32].join(":")));
        }
        sdp.write()
    };
    lone.answer(&other_end(&own));
    renew(&mut lone, true, everything());
    assert_eq!(lone.last().1.media.len(), 1, "only ours");
}

#[test]
fn an_offer_nobody_answers_is_made_plain() {
    let mut lone = call(true, CHROMIUM);
    renew(&mut lone, true, everything());
    assert_eq!(lone.last().1.media.len(), 3);
    lone.pass(Duration::from_secs(40));
    assert_eq!((lone.last().1.media.len(), lone.generations), (1, 3));
}

#[test]
fn a_peer_that_offers_the_lines_we_had_gets_our_tracks_on_others() {
    let mut lone = call(true, CHROMIUM);
    let mut offer = Sdp::parse(&accept(&lone, "Brt8")).unwrap();
    for media in &mut offer.media {
        media.set("setup", "actpass");
    }
    lone.negotiator.handle(lone.now, NegotiatorInput::Reset);
    lone.offer(&offer.write());
    lone.pass(Duration::from_secs(1));
    assert_eq!(lone.last().1.media.len(), 4);
    lone.answer(&accept(&lone, "Brt8"));
    assert_eq!(lone.bin.as_ref().unwrap().routing.sending.len(), 1);
}

#[test]
fn a_second_loss_before_the_offer_is_out() {
    let mut lone = call(false, CHROMIUM);
    for _ in 0..3 {
        lone.negotiator.handle(lone.now, NegotiatorInput::Reset);
        lone.pass(Duration::from_millis(500));
    }
    assert_eq!(lone.last().1.media.len(), 3);
    lone.negotiator.handle(lone.now, NegotiatorInput::Reset);
    lone.pass(Duration::from_millis(500));
    assert_eq!((lone.last().0, lone.last().1.media.len()), (SdpKind::Offer, 3));
}
