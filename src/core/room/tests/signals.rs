//! What peers send us.

use serde_json::{Value, json};

use super::harness::Harness;
use super::{bag, id, ms};
use crate::core::events::{RoomEvent, RoomInput};
use crate::core::io::{Codec, Generation, SessionCommand, SessionEvent};

/// An offer as a room of our own kind makes it to `m`.
pub fn offer() -> Value {
    let mut other = Harness::joined(&[]);
    other.presence(&["z"], &[]);
    other.input(RoomInput::AddTrack(super::publishing::audio(1), None));
    other.pass(ms(1000));
    other.sent_to("z").remove(0)
}

fn meta(label: Option<&str>) -> Value {
    let mut body = json!({"trackId": "t1"});
    if let Some(label) = label {
        body["metadata"] = json!({"label": label});
    }
    json!({"__meteredTrackMeta": body})
}

fn candidate() -> Value {
    let line = "candidate:1 1 udp 2122260223 192.0.2.7 50412 typ host";
    json!({"type": "rtc-ice", "candidate": {"candidate": line, "sdpMid": null, "sdpMLineIndex": 0}})
}

/// The track the peer's offer brings, once its media is there.
pub fn arrive(room: &mut Harness, peer: &str) -> RoomEvent {
    let routed = room
        .commands
        .iter()
        .rev()
        .find_map(|(of, generation, command)| match command {
            SessionCommand::Route(routing) if of == &id(peer) => {
                Some((*generation, routing.receiving[0].mid.clone()))
            }
            _ => None,
        });
    let (generation, mid) = routed.expect("nothing is received");
    room.session(
        peer,
        generation,
        SessionEvent::MediaArrived {
            mid,
            codec: Codec::Opus,
        },
    );
    room.events.pop().unwrap()
}

#[test]
fn an_offer_is_answered_and_its_track_carries_what_was_said_about_it() {
    let mut room = Harness::joined(&["a"]);
    room.direct("a", meta(Some("mic")));
    room.direct("a", offer());
    assert_eq!(room.log_of(&["send send a answer"]).len(), 1);
    let RoomEvent::TrackAdded {
        peer,
        metadata,
        track,
        ..
    } = arrive(&mut room, "a")
    else {
        panic!()
    };
    assert_eq!(
        (peer, metadata, track.track_id.as_deref()),
        (id("a"), bag("mic"), Some("t1"))
    );
}

#[test]
fn a_cleared_bag_is_gone() {
    let mut room = Harness::joined(&["a"]);
    room.direct("a", meta(Some("mic")));
    room.direct("a", meta(None));
    room.direct("a", offer());
    let RoomEvent::TrackAdded { metadata, .. } = arrive(&mut room, "a") else {
        panic!()
    };
    assert_eq!(metadata, None);
}

#[test]
fn c105_early_signals_are_held_and_replayed_in_order() {
    let mut room = Harness::joined(&[]);
    room.direct("a", meta(Some("mic")));
    room.direct("a", offer());
    room.direct("a", candidate());
    assert!(room.log.is_empty());
    room.pass(ms(4900));
    room.presence(&["a"], &[]);
    assert_eq!(room.log_of(&["a AddCandidate"]).len(), 1);
    let RoomEvent::TrackAdded { metadata, .. } = arrive(&mut room, "a") else {
        panic!()
    };
    assert_eq!(metadata, bag("mic"));
}

#[test]
fn c105_but_not_for_longer_than_five_seconds() {
    let mut room = Harness::joined(&[]);
    room.direct("a", offer());
    room.pass(ms(5100));
    room.presence(&["a"], &[]);
    assert!(room.commands.is_empty());
}

#[test]
fn c082_signals_and_near_misses_never_reach_the_application() {
    let mut room = Harness::joined(&["a"]);
    for data in [
        json!({"type": "rtc-description", "description": {"type": "rollback", "sdp": ""}}),
        json!({"type": "rtc-description"}),
        json!({"type": "rtc-ice", "candidate": 7}),
        json!({"type": "rtc-ice", "candidate": null}),
        json!({"__meteredTrackMeta": {"trackId": ""}}),
        json!({"__meteredTrackMeta": {"trackId": "t", "metadata": [1]}}),
        candidate(),
        meta(Some("mic")),
    ] {
        room.direct("a", data.clone());
        room.direct("stranger", data);
    }
    assert!(room.log.is_empty(), "{:?}", room.log);
}

#[test]
fn an_offer_that_is_no_sdp_is_a_problem_and_nothing_more() {
    let mut room = Harness::joined(&["a"]);
    room.direct(
        "a",
        json!({"type": "rtc-description", "description": {"type": "offer", "sdp": "nonsense"}}),
    );
    assert!(
        matches!(&room.events[..], [RoomEvent::NegotiationError(_, problem)] if problem.code == "invalid_description")
    );
    assert!(room.commands.is_empty());
}

#[test]
fn c104_a_signal_that_is_not_permitted_is_fatal_and_says_what_to_do() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(super::publishing::audio(1), None));
    room.pass(ms(1000));
    room.refuse("send", "action_not_permitted");
    let text = room.events.iter().find_map(|event| match event {
        RoomEvent::Fatal { code, text } if code == "action_not_permitted" => Some(text),
        _ => None,
    });
    let text = text.expect("no fatal error");
    assert!(text.contains("`send`") && text.contains("dashboard") && text.contains("permissions"));
    assert!(room.ledger.has_left());
}

#[test]
fn other_refusals_of_signals_are_the_watchdogs_business() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(super::publishing::audio(1), None));
    room.pass(ms(1000));
    room.forget_events();
    room.refuse("send", "peer_not_found");
    assert!(room.events.is_empty());
}

#[test]
fn stale_and_foreign_sessions_are_ignored() {
    let mut room = Harness::joined(&["a"]);
    for (peer, generation) in [("a", 0), ("a", 9), ("stranger", 1)] {
        room.session(peer, Generation(generation), SessionEvent::LocalSet);
        room.session(
            peer,
            Generation(generation),
            SessionEvent::OfferCreated(String::new()),
        );
    }
    assert!(room.log.is_empty());
}
