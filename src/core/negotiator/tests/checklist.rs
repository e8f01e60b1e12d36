//! The conformance checklist of the service protocol, §10: what concerns one connection. One test for each item; where
//! we do something else, the comment says why. What is not here is below `core::room::tests`, or named in `early`,
//! `pacer`, `metadata`.

use std::time::Duration;

use super::golden::{CHROMIUM, CHROMIUM_DATA, accept};
use super::pair::{FAIR, Pair, everything, track};
use super::peer::Lone;
use super::restart::restarted;
use crate::core::io::{Codec, ConnectionState, MediaKind, SessionEvent};
use crate::core::negotiator::{NegotiatorInput, NegotiatorOutput, PeerState};
use crate::sdp::model::Sdp;
use crate::wire::{IceCandidate, SdpKind};

const AIORTC: &str = include_str!("../../../../tests/fixtures/sdp/aiortc-offer.sdp");

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn add(key: u32, kind: MediaKind) -> NegotiatorInput {
    NegotiatorInput::AddTrack(track(key, kind))
}

/// Our first offer is out.
fn offering(polite: bool) -> Lone {
    let mut lone = Lone::new(polite, everything());
    lone.handle(add(1, MediaKind::Audio));
    lone.pass(ms(1000));
    assert_eq!(kinds(&lone), [SdpKind::Offer]);
    lone
}

/// Our first offer was answered, and the connection is up.
fn connected(polite: bool) -> Lone {
    let mut lone = offering(polite);
    lone.answer(&accept(&lone, "Brt8"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone
}

fn kinds(lone: &Lone) -> Vec<SdpKind> {
    lone.sent.iter().map(|(kind, _)| *kind).collect()
}

fn answers(lone: &Lone) -> usize {
    lone.sent
        .iter()
        .filter(|(kind, _)| *kind == SdpKind::Answer)
        .count()
}

fn mids(sdp: &Sdp) -> Vec<(String, String)> {
    let name =
        |media: &crate::sdp::model::Media| (media.media.clone(), media.attribute("mid").unwrap().to_owned());
    sdp.media.iter().map(name).collect()
}

/// The same from another `RTCPeerConnection`.
fn from_another(offer: &str, n: u32) -> String {
    let mut sdp = Sdp::parse(&restarted(offer, n)).unwrap();
    sdp.session[1] = format!("o=- 77{n} 2 IN IP4 127.0.0.1");
    for media in &mut sdp.media {
        media.set(
            "fingerprint",
            &format!("sha-256 {}", vec![format!("{n:02X}"); 32].join(":")),
        );
    }
    sdp.write()
}

fn candidate(n: u32, ufrag: Option<&str>) -> NegotiatorInput {
    NegotiatorInput::Candidate(IceCandidate {
        candidate: format!("candidate:{n} 1 udp 1 192.0.2.1 {} typ host", 1000 + n),
        sdp_mid: Some("0".into()),
        sdp_mline_index: Some(0),
        username_fragment: ufrag.map(str::to_owned),
    })
}

fn remote_ufrag(lone: &Lone) -> String {
    lone.bin.as_ref().unwrap().remote_ufrag().unwrap()
}

#[test]
fn c108_impolite_with_an_offer_out_ignores_an_offer() {
    let mut lone = offering(false);
    lone.offer(CHROMIUM);
    lone.pass(ms(4000));
    assert_eq!((kinds(&lone).len(), lone.problems.len()), (1, 0));
    lone.answer(&accept(&lone, "Brt8"));
    assert_eq!((lone.generations, lone.problems.len()), (1, 0), "ours goes on");
}

#[test]
fn c109_polite_in_a_collision_answers_and_offers_again() {
    let mut lone = offering(true);
    lone.offer(CHROMIUM);
    assert_eq!(kinds(&lone), [SdpKind::Offer, SdpKind::Answer]);
    lone.pass(ms(1000));
    assert_eq!(
        kinds(&lone)[2..],
        [SdpKind::Offer],
        "our track comes in a follow-up"
    );
    assert_eq!(lone.last().1.media.len(), 3);
}

#[test]
fn c110_an_offer_right_behind_an_answer_is_accepted() {
    for polite in [true, false] {
        let mut lone = offering(polite);
        let answer = accept(&lone, "Brt8");
        let mut offer = Sdp::parse(&answer).unwrap();
        offer
            .media
            .iter_mut()
            .for_each(|media| media.set("setup", "actpass"));
        let now = lone.now;
        let inputs = [(SdpKind::Answer, answer), (SdpKind::Offer, offer.write())];
        for (kind, sdp) in inputs {
            lone.negotiator
                .handle(now, NegotiatorInput::Description(kind, sdp));
        }
        // Only now does the session begin with the answer.
        lone.drain();
        assert_eq!(kinds(&lone), [SdpKind::Offer, SdpKind::Answer]);
        assert_eq!((lone.generations, lone.problems.len()), (1, 0));
    }
}

#[test]
fn c111_an_offer_that_is_being_made_gives_way_to_the_peers() {
    for polite in [true, false] {
        let mut lone = Lone::new(polite, everything());
        lone.handle(add(1, MediaKind::Audio));
        let at = lone.negotiator.poll_timeout().unwrap();
        lone.negotiator.handle_timeout(at);
        lone.negotiator
            .handle(at, NegotiatorInput::Description(SdpKind::Offer, CHROMIUM.into()));
        lone.drain();
        assert_eq!(kinds(&lone), [SdpKind::Answer]);
    }
}

#[test]
fn c112_an_answer_to_nothing_is_dropped() {
    let mut lone = connected(true);
    let answer = accept(&lone, "Brt8");
    lone.answer(&answer);
    lone.answer("nonsense");
    Lone::polite().answer(&answer);
    assert_eq!(
        (lone.sent.len(), lone.generations, lone.problems.len()),
        (1, 1, 0)
    );
}

#[test]
fn c113_nothing_to_send_no_offer() {
    for polite in [true, false] {
        let mut lone = Lone::new(polite, everything());
        lone.pass(ms(600_000));
        lone.offer(CHROMIUM);
        lone.pass(ms(1000));
        assert_eq!(kinds(&lone), [SdpKind::Answer]);
    }
}

#[test]
fn c114_changes_of_one_turn_make_one_offer() {
    let mut lone = Lone::polite();
    for key in 1..=4 {
        lone.handle(add(
            key,
            if key == 2 {
                MediaKind::Audio
            } else {
                MediaKind::Video
            },
        ));
    }
    lone.pass(ms(2000));
    assert_eq!((lone.sent.len(), lone.last().1.media.len()), (1, 4));
}

#[test]
fn c115_polite_waits_for_an_offer_that_was_announced() {
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::ExpectOffer);
    lone.handle(add(1, MediaKind::Audio));
    lone.pass(ms(1900));
    assert!(lone.sent.is_empty());
    lone.pass(ms(200));
    assert_eq!(kinds(&lone), [SdpKind::Offer], "two seconds, not longer");
    // Nothing was announced: a quarter of a second. The peer offers at once if it has something.
    let mut lone = Lone::polite();
    lone.handle(add(1, MediaKind::Audio));
    lone.pass(ms(300));
    assert_eq!(kinds(&lone), [SdpKind::Offer]);
}

/// A new user fragment alone is a restart, which is followed in place: media flows on. With another certificate it is
/// another connection.
#[test]
fn c116_an_offer_of_another_connection_is_answered_from_a_fresh_one() {
    for polite in [true, false] {
        let mut lone = Lone::new(polite, everything());
        lone.offer(CHROMIUM);
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        lone.offer(&restarted(CHROMIUM, 1));
        assert_eq!((answers(&lone), lone.generations), (2, 1));
        lone.offer(&from_another(CHROMIUM, 2));
        assert_eq!((answers(&lone), lone.generations), (3, 2));
    }
}

#[test]
fn c117_two_other_connections_at_once_end_with_the_second() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    for n in 1..=6 {
        lone.offer(&from_another(CHROMIUM, n));
        lone.pass(ms(50));
    }
    lone.pass(ms(2000));
    assert_eq!(remote_ufrag(&lone), "New6");
    assert_eq!(kinds(&lone).last(), Some(&SdpKind::Answer));
}

#[test]
fn c118_fewer_reordered_or_other_sections_are_answered() {
    let change = |what: fn(&mut Sdp)| {
        let mut sdp = Sdp::parse(CHROMIUM).unwrap();
        what(&mut sdp);
        let live = sdp
            .media
            .iter()
            .filter(|m| m.port != 0)
            .map(|m| m.attribute("mid").unwrap().to_owned());
        let live: Vec<String> = live.collect();
        sdp.set_bundle(&live);
        sdp.write()
    };
    let offers = [
        change(|sdp| drop(sdp.media.pop())),
        change(|sdp| drop(sdp.media.remove(0))),
        change(|sdp| sdp.media.swap(0, 1)),
        // Kinds swapped under the same mids.
        change(|sdp| {
            sdp.media.swap(0, 1);
            sdp.media[0].set("mid", "0");
            sdp.media[1].set("mid", "1");
        }),
        // The first transceiver is stopped: the BUNDLE tag moves.
        change(|sdp| sdp.media[0].port = 0),
        // Recycled without having been stopped.
        change(|sdp| sdp.media[1].set("mid", "7")),
    ];
    for polite in [true, false] {
        let mut lone = Lone::new(polite, everything());
        lone.offer(CHROMIUM);
        lone.event(SessionEvent::Connection(ConnectionState::Connected));
        for (n, offer) in offers.iter().enumerate() {
            for text in [offer.as_str(), CHROMIUM] {
                let before = answers(&lone);
                lone.offer(text);
                lone.pass(ms(3000));
                assert_eq!(answers(&lone), before + 1, "offer {n}");
                assert_eq!(
                    mids(&lone.last().1),
                    mids(&Sdp::parse(text).unwrap()),
                    "offer {n}"
                );
            }
        }
    }
}

#[test]
fn c119_answers_have_the_sections_of_their_offer() {
    let files = [
        CHROMIUM,
        CHROMIUM_DATA,
        super::golden::CHROMIUM_RECYCLED,
        AIORTC,
        include_str!("../../../../tests/fixtures/sdp/firefox-offer.sdp"),
        include_str!("../../../../tests/fixtures/sdp/webrtcbin-offer.sdp"),
    ];
    for text in files {
        let mut lone = Lone::polite();
        lone.handle(add(1, MediaKind::Video));
        lone.offer(text);
        assert_eq!(mids(&lone.last().1), mids(&Sdp::parse(text).unwrap()));
    }
}

#[test]
fn c122_the_counter_of_candidates_starts_again_with_each_description() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    for n in 0..250 {
        lone.handle(candidate(n, Some("Brt8")));
    }
    assert_eq!(lone.given.len(), 200);
    lone.offer(CHROMIUM);
    for n in 300..303 {
        lone.handle(candidate(n, Some("Brt8")));
    }
    assert_eq!(lone.given.len(), 203);
}

#[test]
fn c123_the_end_of_candidates_does_not_count() {
    let mut lone = Lone::polite();
    lone.handle(NegotiatorInput::EndOfCandidates);
    assert!(
        lone.others.is_empty() && lone.problems.is_empty(),
        "nor does it mean anything yet"
    );
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    for n in 0..199 {
        lone.handle(candidate(n, Some("Brt8")));
    }
    lone.handle(NegotiatorInput::EndOfCandidates);
    lone.handle(candidate(500, Some("Brt8")));
    assert_eq!(lone.given.len(), 201);
    assert_eq!(lone.given.iter().filter(|line| line.is_empty()).count(), 1);
}

#[test]
fn c124_an_empty_candidate_is_the_end() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    for _ in 0..2 {
        lone.handle(NegotiatorInput::Candidate(IceCandidate {
            sdp_mid: Some("0".into()),
            ..Default::default()
        }));
    }
    assert_eq!(
        (lone.given.as_slice(), lone.problems.len()),
        (&[String::new()][..], 0)
    );
}

#[test]
fn c125_candidates_of_another_generation_are_not_applied() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    lone.handle(candidate(1, Some("Old7")));
    assert!(lone.given.is_empty());
    lone.handle(candidate(2, Some("Brt8")));
    lone.handle(candidate(3, None));
    assert_eq!(lone.given.len(), 2);
}

/// The delays before a connection is made anew, as a list of seconds. What is lost at once is tried at once.
fn ladder(lone: &mut Lone) -> Vec<u64> {
    let mut delays = Vec::new();
    loop {
        let (before, made) = (lone.now, lone.generations);
        lone.event(SessionEvent::Connection(ConnectionState::Failed));
        while lone.generations == made {
            let Some(at) = lone.negotiator.poll_timeout() else {
                return delays;
            };
            lone.pass(at - lone.now);
        }
        delays.push((lone.now - before).as_secs());
    }
}

fn exhausted(lone: &Lone) -> usize {
    lone.problems
        .iter()
        .filter(|code| **code == "IceRestartExhausted")
        .count()
}

/// Connected, without a libnice that can restart: every try is a new connection.
fn brittle() -> Lone {
    let mut lone = connected(false);
    lone.event(SessionEvent::CannotRestart);
    lone
}

#[test]
fn c127_the_schedule_of_recovery() {
    assert_eq!(ladder(&mut brittle()), [0, 1, 2, 4, 8, 16, 30, 30, 30]);
}

/// The SDKs go on to the next attempt. We send the same offer once more before: it may just be lost.
#[test]
fn c128_an_unanswered_recovery_offer_advances() {
    let mut lone = brittle();
    lone.event(SessionEvent::Connection(ConnectionState::Failed));
    lone.pass(ms(1000));
    assert_eq!((lone.generations, lone.sent.len()), (2, 2));
    lone.pass(ms(15_000));
    assert_eq!((lone.generations, lone.sent.len()), (2, 3));
    lone.pass(ms(16_500));
    assert_eq!((lone.generations, lone.sent.len()), (3, 4));
}

#[test]
fn c129_one_signal_of_exhaustion_armed_again_by_a_recovery() {
    let mut lone = brittle();
    ladder(&mut lone);
    lone.pass(ms(600_000));
    assert_eq!(exhausted(&lone), 1);
    lone.offer(&from_another(CHROMIUM, 3));
    assert_eq!(
        kinds(&lone).last(),
        Some(&SdpKind::Answer),
        "the peer may still come"
    );
    lone.event(SessionEvent::CannotRestart);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    assert_eq!(ladder(&mut lone).len(), 9);
    assert_eq!(exhausted(&lone), 2);
}

#[test]
fn c130_connected_starts_the_ladder_again() {
    let mut lone = brittle();
    for _ in 0..3 {
        lone.event(SessionEvent::Connection(ConnectionState::Failed));
        lone.pass(ms(3000));
    }
    lone.answer(&accept(&lone, "Brt9"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.event(SessionEvent::CannotRestart);
    assert_eq!(ladder(&mut lone)[..3], [0, 1, 2]);
}

#[test]
fn c131_connecting_is_hidden_while_reconnecting() {
    let mut lone = brittle();
    for _ in 0..3 {
        lone.event(SessionEvent::Connection(ConnectionState::Failed));
        lone.pass(ms(3000));
        lone.event(SessionEvent::Connection(ConnectionState::Connecting));
    }
    lone.answer(&accept(&lone, "Brt9"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    let states = lone.others.iter().filter_map(|other| match other {
        NegotiatorOutput::State(state) => Some(*state),
        _ => None,
    });
    use PeerState::{Connected, Connecting, Reconnecting};
    assert_eq!(
        states.collect::<Vec<_>>(),
        [Connecting, Connected, Reconnecting, Connected]
    );
}

#[test]
fn c133_an_unanswered_offer_is_repeated() {
    for polite in [true, false] {
        let mut lone = offering(polite);
        lone.pass(ms(13_000));
        assert_eq!(lone.sent.len(), 1);
        lone.pass(ms(2000));
        assert_eq!(kinds(&lone), [SdpKind::Offer; 2]);
        assert_eq!(mids(&Sdp::parse(&lone.sent[0].1).unwrap()), mids(&lone.last().1));
    }
}

/// `layout` has more of it, `tests/interop/browser/kept.test.mjs` asks Chromium.
#[test]
fn c134_a_new_webrtcbin_offers_the_layout_that_the_peer_knows() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM_DATA);
    lone.handle(add(1, MediaKind::Video));
    lone.pass(ms(1000));
    lone.answer(&accept(&lone, "Brt8"));
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    let known = mids(&lone.last().1);
    lone.handle(NegotiatorInput::Reset);
    lone.pass(ms(3000));
    assert_eq!((lone.generations, mids(&lone.last().1)), (2, known));
}

#[test]
fn c135_a_restart_of_the_peer_is_followed_in_place() {
    let mut lone = connected(true);
    let mut offer = Sdp::parse(&accept(&lone, "Brt8")).unwrap();
    offer
        .media
        .iter_mut()
        .for_each(|media| media.set("setup", "actpass"));
    lone.offer(&restarted(&offer.write(), 1));
    assert_eq!((kinds(&lone)[1], lone.generations), (SdpKind::Answer, 1));
    assert_eq!(
        (lone.bin.as_ref().unwrap().restarts, remote_ufrag(&lone)),
        (1, "New1".into())
    );
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    assert!(lone.problems.is_empty());
}

#[test]
fn c136_a_rebuild_of_the_python_sdk_is_answered() {
    let mut lone = Lone::polite();
    lone.offer(AIORTC);
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    lone.offer(&from_another(AIORTC, 1));
    assert_eq!(
        (answers(&lone), lone.generations, remote_ufrag(&lone)),
        (2, 2, "New1".into())
    );
    lone.event(SessionEvent::Connection(ConnectionState::Connected));
    assert!(lone.problems.is_empty());
}

/// We write no header extensions at all, so there is none whose number could change.
#[test]
fn c137_extension_numbers_do_not_change() {
    let mut lone = connected(true);
    lone.handle(add(2, MediaKind::Video));
    lone.pass(ms(1000));
    lone.answer(&accept(&lone, "Brt8"));
    let mut other = Lone::polite();
    other.offer(CHROMIUM);
    other.offer(&CHROMIUM.replace("a=extmap:4 ", "a=extmap:9 "));
    assert_eq!((answers(&other), other.generations), (2, 1));
    for (_, sdp) in lone.sent.iter().chain(&other.sent) {
        assert!(!sdp.contains("a=extmap"), "{sdp}");
    }
}

#[test]
fn c139_a_bundle_of_nothing_is_ignored() {
    let mut lone = Lone::polite();
    lone.offer("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE\r\n");
    assert!(lone.sent.is_empty() && lone.problems.is_empty() && lone.generations == 0);
}

/// In a new connection our pads are new, so the old tracks end; pads that survive it are another matter.
#[test]
fn c153_a_track_is_told_once_and_again_in_a_new_connection() {
    let mut lone = Lone::polite();
    let arrive = |lone: &mut Lone| {
        let (mid, codec) = ("1".into(), Codec::Vp8);
        lone.event(SessionEvent::MediaArrived { mid, codec });
    };
    let told = |lone: &Lone| {
        let tracks = |other: &&NegotiatorOutput| {
            matches!(
                other,
                NegotiatorOutput::TrackAdded(_) | NegotiatorOutput::TrackRemoved(..)
            )
        };
        lone.others.iter().filter(tracks).count()
    };
    lone.offer(CHROMIUM);
    arrive(&mut lone);
    arrive(&mut lone);
    lone.offer(CHROMIUM);
    assert_eq!(told(&lone), 1);
    lone.offer(&from_another(CHROMIUM, 1));
    arrive(&mut lone);
    assert_eq!(told(&lone), 3, "added, removed, added");
}

#[test]
fn c154_what_the_sender_removes_is_removed() {
    let mut lone = Lone::polite();
    lone.offer(CHROMIUM);
    let (mid, codec) = ("1".into(), Codec::Vp8);
    lone.event(SessionEvent::MediaArrived { mid, codec });
    lone.offer(CHROMIUM_DATA);
    let removed =
        |other: &&NegotiatorOutput| matches!(other, NegotiatorOutput::TrackRemoved(_, mid) if mid == "1");
    assert_eq!(lone.others.iter().filter(removed).count(), 1);
}

/// The rows of §5.8 that are not an item of their own: an offer in each state of ours, matching and not, on both sides.
/// The peer's newest offer is answered in the end, and nothing is stuck.
#[test]
fn an_offer_in_every_state() {
    #[derive(Debug, Clone, Copy)]
    enum State {
        Nothing,
        Stable,
        OfferOut,
        OfferLost,
        ApplyingAnswer,
        Answering,
        Rebuilding,
    }
    use State::*;
    for state in [
        Nothing,
        Stable,
        OfferOut,
        OfferLost,
        ApplyingAnswer,
        Answering,
        Rebuilding,
    ] {
        for (polite, other) in [(false, false), (false, true), (true, false), (true, true)] {
            let what = format!("{state:?}, polite: {polite}, another connection: {other}");
            let mut lone = Lone::new(polite, everything());
            if !matches!(state, Nothing) {
                lone.offer(CHROMIUM);
                lone.event(SessionEvent::Connection(ConnectionState::Connected));
            }
            let now = lone.now;
            match state {
                Nothing | Stable => {}
                OfferOut | OfferLost | ApplyingAnswer => {
                    lone.handle(add(1, MediaKind::Audio));
                    lone.pass(ms(if matches!(state, OfferLost) { 5500 } else { 100 }));
                    if matches!(state, ApplyingAnswer) {
                        let answer = accept(&lone, "Brt8");
                        lone.negotiator
                            .handle(lone.now, NegotiatorInput::Description(SdpKind::Answer, answer));
                    }
                }
                // An earlier offer is being answered.
                Answering => lone
                    .negotiator
                    .handle(now, NegotiatorInput::Description(SdpKind::Offer, CHROMIUM.into())),
                Rebuilding => lone.event(SessionEvent::Connection(ConnectionState::Closed)),
            }
            let offer = match other {
                true => from_another(CHROMIUM, 5),
                false => CHROMIUM.to_owned(),
            };
            // Our lines belong to what the peer knows, once it has answered.
            let before = answers(&lone);
            lone.offer(&offer);
            let at_once = answers(&lone) > before;
            let ignored = matches!(state, OfferOut) && !polite;
            assert_eq!(at_once, !ignored, "{what}");
            lone.pass(ms(6000));
            assert!(answers(&lone) > before, "{what}: at last");
            let ufrag = if other { "New5" } else { "Brt8" };
            assert_eq!(remote_ufrag(&lone), ufrag, "{what}");
            assert!(lone.problems.is_empty(), "{what}: {:?}", lone.problems);
        }
    }
}

/// An answer that is not one to our offer is a failed attempt.
#[test]
fn an_answer_with_other_sections_makes_the_connection_anew() {
    let mut lone = offering(true);
    let mut answer = Sdp::parse(&accept(&lone, "Brt8")).unwrap();
    answer.media[0].set("mid", "other");
    answer.set_bundle(&["other".to_owned()]);
    lone.answer(&answer.write());
    assert_eq!(lone.problems, ["invalid_description"]);
    lone.pass(ms(1000));
    assert_eq!(
        (lone.generations, kinds(&lone).last()),
        (2, Some(&SdpKind::Offer))
    );
}

/// Both sides find each other whoever is polite, and whatever both do at the same moment.
#[test]
fn c107_one_side_is_polite_and_it_is_always_the_same() {
    for seed in 0..20 {
        let mut pair = Pair::new(seed, FAIR, [everything(), everything()]);
        for side in 0..2 {
            pair.at(ms(0), side, add(1, MediaKind::Audio));
        }
        pair.run(ms(10_000));
        pair.verdict().unwrap();
    }
}
