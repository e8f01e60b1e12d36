//! The conformance checklist of the service protocol, §10: what concerns the room, where no other file has it.

use serde_json::json;

use super::harness::Harness;
use super::publishing::audio;
use super::signals::offer;
use super::{bag, config, id, ms};
use crate::core::events::{RoomEvent, RoomInput, RoomState};
use crate::core::io::{ConnectionState, MediaKind, SessionCommand, SessionEvent, SessionOp, TrackKey};
use crate::core::negotiator::tests::pair::track;
use crate::sdp::model::Sdp;
use crate::wire::limits::RECONCILE_DEADLINE;

/// In the room with these, a track of ours offered to each.
fn sending_to(others: &[&str]) -> Harness {
    let mut room = Harness::joined(others);
    room.input(RoomInput::AddTrack(audio(1), bag("mic")));
    room.pass(ms(1000));
    for peer in others {
        answer(&mut room, peer);
        let generation = room.ledger.live(&id(peer)).unwrap();
        let up = SessionEvent::Connection(ConnectionState::Connected);
        room.session(peer, generation, up);
    }
    room.forget();
    room
}

/// The peer takes our last offer.
fn answer(room: &mut Harness, peer: &str) {
    let sent = room.sent_to(peer);
    let offers = sent
        .iter()
        .rev()
        .filter_map(|data| data["description"]["sdp"].as_str());
    let mut sdp = Sdp::parse(offers.into_iter().next().expect("an offer")).unwrap();
    sdp.session[1] = format!("o=- 99{} 1 IN IP4 127.0.0.1", peer.len());
    for media in &mut sdp.media {
        media.set("ice-ufrag", &format!("peer{peer}"));
        media.set("setup", "active");
        let line = |line: &String| line.replace("a=sendonly", "a=recvonly");
        media.lines = media.lines.iter().map(line).collect();
        media
            .lines
            .retain(|line| !line.starts_with("a=ssrc") && !line.starts_with("a=msid"));
    }
    let description = json!({"type": "answer", "sdp": sdp.write()});
    room.direct(
        peer,
        json!({"type": "rtc-description", "description": description}),
    );
}

fn negotiation_errors(room: &Harness) -> usize {
    let error = |event: &&RoomEvent| matches!(event, RoomEvent::NegotiationError(..));
    room.events.iter().filter(error).count()
}

#[test]
fn c085_who_leaves_without_having_been_there_is_nobody() {
    let mut room = Harness::joined(&["a"]);
    room.presence(&[], &["b", "m"]);
    assert!(room.log.is_empty());
    room.presence(&[], &["a", "a"]);
    assert_eq!(room.log_of(&["peer-left"]), ["peer-left a"]);
}

#[test]
fn c090_departures_come_first() {
    let mut room = sending_to(&["a", "b"]);
    room.back_as("m2");
    room.forget();
    room.presence(&["c", "b"], &[]);
    let said = room.log_of(&["peer-left", "peer-joined", "reset"]);
    assert_eq!(said.first(), Some(&"peer-left a"));
    assert!(said.contains(&"peer-joined c") && said.contains(&"reset b"));
}

#[test]
fn c092_metadata_of_survivors_is_new_before_their_connection() {
    let mut room = sending_to(&["a"]);
    room.back_as("m2");
    room.forget();
    let joined = json!([{"peerId": "a", "metadata": {"label": "new"}}]);
    room.frame(json!({"type": "presence", "channel": "studio", "joined": joined, "left": []}));
    assert_eq!(
        room.log_of(&["peer-metadata", "reset"]),
        ["peer-metadata a", "reset a"]
    );
}

/// A new connection cannot fail before its session has tried; then only this one is tried again.
#[test]
fn c093_one_connection_that_fails_blocks_nobody() {
    let mut room = sending_to(&["a", "b"]);
    room.automatic = false;
    room.back_as("m2");
    room.presence(&["a", "b"], &[]);
    room.pass(ms(3000));
    let generation = room.ledger.live(&id("a")).unwrap();
    let (op, reason) = (SessionOp::Create, "no such element".into());
    room.automatic = true;
    room.session("a", generation, SessionEvent::Failed { op, reason });
    assert_eq!(room.ledger.state, RoomState::Joined);
    assert!(room.log_of(&["reset"]).contains(&"reset b"));
    room.pass(ms(5000));
    assert_eq!(room.log_of(&["send send a offer"]).len(), 1);
}

/// Commands take their turn: a handler cannot interrupt a snapshot, and what it says is done right after.
#[test]
fn c094_leaving_during_a_reconcile_ends_it() {
    let mut room = sending_to(&["a", "b"]);
    room.back_as("m2");
    room.presence(&["b"], &[]);
    room.input(RoomInput::Leave);
    room.forget();
    room.presence(&["a", "b", "c"], &[]);
    room.pass(ms(10_000));
    assert!(
        room.log_of(&["peer", "reset", "b ", "send"]).is_empty(),
        "{:?}",
        room.log
    );
}

#[test]
fn c097_reset_is_told_once_for_each_new_connection_and_not_for_the_first() {
    let mut room = Harness::joined(&["a"]);
    room.input(RoomInput::AddTrack(audio(1), None));
    room.pass(ms(1000));
    assert!(room.log_of(&["reset"]).is_empty());
    for own in ["m2", "m3"] {
        room.forget();
        room.back_as(own);
        room.presence(&["a"], &[]);
        room.pass(ms(2000));
        assert_eq!(room.log_of(&["reset"]), ["reset a"]);
    }
}

/// There is no such option: a room always comes back into its channel.
#[test]
fn c101_the_channel_is_always_subscribed_again() {
    let mut room = Harness::joined(&[]);
    room.lost();
    room.reconnect();
    room.welcome("m");
    assert_eq!(room.log_of(&["send subscribe"]).len(), 1);
}

#[test]
fn c102_sender_metadata_is_asked_for_again() {
    for wanted in [true, false] {
        let mut config = config(3);
        config.include_sender_metadata = wanted;
        let mut room = Harness::joined_with(config, &["a"]);
        room.back_as("m");
        // Nobody says who is there: the channel is subscribed by force.
        room.pass(RECONCILE_DEADLINE * 2 + ms(2000));
        let asked: Vec<bool> = room
            .sent()
            .iter()
            .filter(|frame| frame["type"] == "subscribe")
            .map(|frame| frame["includeSenderMetadata"] == true)
            .collect();
        assert!(asked.len() >= 2, "{asked:?}");
        assert!(asked.iter().all(|asks| *asks == wanted));
    }
}

/// Peers are named by id, so the service is asked; its refusal is told.
#[test]
fn c103_sending_to_one_who_has_gone_is_refused() {
    let mut room = Harness::joined(&["a"]);
    room.presence(&[], &["a"]);
    room.input(RoomInput::SendTo("a".into(), json!("hello")));
    room.refuse("send", "peer_not_found");
    assert_eq!(room.codes(), ["peer_not_found"]);
}

#[test]
fn c107_the_smaller_id_is_polite() {
    let mut room = Harness::joined(&[]);
    for (peer, polite) in [
        ("a", false),
        ("z", true),
        ("M", false),
        ("m0", true),
        ("l", false),
    ] {
        assert_eq!(room.room.negotiator_config(&id(peer)).polite, polite, "{peer}");
    }
}

#[test]
fn c117_two_offers_at_once_are_answered_with_the_second() {
    let mut room = Harness::joined(&["a"]);
    let text = offer().to_string();
    for n in 0..2 {
        let other = text.replace("a=ice-ufrag:", &format!("a=ice-ufrag:n{n}"));
        room.direct("a", serde_json::from_str(&other).unwrap());
        room.pass(ms(100));
    }
    room.pass(ms(1000));
    assert_eq!(room.log_of(&["send send a answer"]).len(), 2);
}

#[test]
fn c132_a_description_that_is_not_delivered_is_no_negotiation_error() {
    for code in ["peer_not_found", "rate_limited", "over_message_quota"] {
        let mut room = sending_to(&["z"]);
        room.input(RoomInput::AddTrack(audio(2), None));
        room.pass(ms(1000));
        room.refuse("send", code);
        room.pass(ms(1000));
        assert_eq!((negotiation_errors(&room), room.codes().len()), (0, 0));
        assert_eq!(room.ledger.state, RoomState::Joined);
    }
}

#[test]
fn c138_a_new_connection_has_the_newest_servers_and_our_own_id() {
    let mut room = sending_to(&["p"]);
    assert!(room.room.negotiator_config(&id("p")).polite);
    room.lost();
    room.reconnect();
    let metadata =
        json!({"iceServers": [{"urls": ["turn:two.example"], "username": "u", "credential": "c"}]});
    room.frame(json!({"type": "welcome", "peerId": "q", "serverTime": 1, "expiresAt": null, "maxMessageSize": 65536, "metadata": metadata}));
    room.ack("subscribe");
    room.presence(&["p"], &[]);
    room.pass(ms(3000));
    let config = room.room.negotiator_config(&id("p"));
    assert!(!config.polite, "q is the larger");
    let made = room
        .commands
        .iter()
        .rev()
        .find_map(|(_, _, command)| match command {
            SessionCommand::Create(config) => Some(config.ice_servers.clone()),
            _ => None,
        });
    let made = made.expect("a new connection");
    assert_eq!((made.len(), made), (1, config.session.ice_servers));
}

/// A pad is a track: the same one again is nothing. Another one under the same key takes its place.
#[test]
fn c141_the_same_track_again_is_nothing() {
    let mut room = sending_to(&["z"]);
    room.input(RoomInput::AddTrack(audio(1), bag("mic")));
    room.pass(ms(2000));
    assert!(room.log.is_empty(), "{:?}", room.log);
    let mut other = audio(1);
    other.stream_id = "elsewhere".into();
    room.input(RoomInput::AddTrack(other, bag("mic")));
    room.pass(ms(2000));
    let sent = room.log_of(&["send send z"]);
    assert_eq!(sent[..2], ["send send z clear", "send send z meta"]);
    let offers: Vec<String> = room.sent_to("z").iter().map(ToString::to_string).collect();
    let said = |text: &str| offers.iter().any(|offer| offer.contains(text));
    assert!(said("msid:elsewhere t1") && !said("msid:s1 t1"), "{offers:?}");
}

/// Elements go to their end states by themselves; a pad that is still added then is of no consequence.
#[test]
fn c144_tracks_of_a_room_that_is_left_are_nothing() {
    let mut room = sending_to(&["z"]);
    room.input(RoomInput::Leave);
    room.forget();
    room.input(RoomInput::AddTrack(audio(2), bag("late")));
    room.input(RoomInput::RemoveTrack(TrackKey(1)));
    room.closed(1000);
    room.input(RoomInput::AddTrack(audio(3), bag("later")));
    room.pass(ms(10_000));
    assert!(room.sent().is_empty() && room.commands.is_empty());
}

#[test]
fn c145_metadata_goes_before_the_offer_of_its_track() {
    let mut room = sending_to(&["a", "z"]);
    room.input(RoomInput::AddTrack(track(2, MediaKind::Video), bag("cam")));
    for peer in ["a", "z"] {
        let generation = room.ledger.live(&id(peer)).unwrap();
        room.session(
            peer,
            generation,
            SessionEvent::Connection(ConnectionState::Closed),
        );
    }
    room.pass(ms(5000));
    for peer in ["a", "z"] {
        let words = [
            format!("send send {peer} meta"),
            format!("send send {peer} offer"),
        ];
        let sent = room.log_of(&[&words[0], &words[1]]);
        assert_eq!(sent[..2], words);
    }
}

#[test]
fn c147_a_set_message_carries_stream_and_kind() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(track(5, MediaKind::Video), bag("cam")));
    let meta = json!({"trackId": "t5", "metadata": {"label": "cam"}, "kind": "video", "streamId": "s5"});
    assert_eq!(room.sent_to("z"), [json!({"__meteredTrackMeta": meta})]);
}

#[test]
fn c148_metadata_that_is_no_object_is_not_stored() {
    let mut room = Harness::joined(&["a"]);
    for metadata in [json!([1]), json!(7), json!("x"), json!(true)] {
        room.direct(
            "a",
            json!({"__meteredTrackMeta": {"trackId": "t1", "metadata": metadata}}),
        );
    }
    room.direct("a", json!({"__meteredTrackMeta": [{"trackId": "t1"}]}));
    assert!(room.room.peers[&id("a")].tracks.is_empty());
    assert!(room.events.is_empty(), "nor is it the application's");
}

#[test]
fn c152_the_track_id_of_the_description_is_that_of_the_metadata_in_every_connection() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(audio(1), bag("mic")));
    for own in ["m2", "m3", "m4"] {
        room.pass(ms(3000));
        let sent = room.sent_to("z");
        assert_eq!(sent[0]["__meteredTrackMeta"]["trackId"], "t1");
        let sdp = sent[1]["description"]["sdp"].as_str().unwrap();
        assert!(sdp.contains("a=msid:s1 t1\r\n"), "{sdp}");
        room.forget();
        room.back_as(own);
        room.presence(&["z"], &[]);
    }
}

/// Taking a track away is all that replacing it by nothing is.
#[test]
fn c155_what_is_stopped_while_alone_is_not_offered_later() {
    let mut room = Harness::joined(&[]);
    room.input(RoomInput::AddTrack(audio(1), bag("mic")));
    room.input(RoomInput::RemoveTrack(TrackKey(1)));
    room.presence(&["z"], &[]);
    room.pass(ms(5000));
    assert!(room.sent().is_empty() && room.commands.is_empty());
}

/// A track is encoded once for all, and each peer gets it by a negotiation of its own: there is no replacing that could
/// fail in part. One peer's failure leaves the others what they are to have, and is made good.
#[test]
fn c156_a_change_that_fails_with_one_peer_reaches_the_others() {
    let mut room = sending_to(&["y", "z"]);
    room.input(RoomInput::RemoveTrack(TrackKey(1)));
    room.input(RoomInput::AddTrack(audio(2), bag("other")));
    let generation = room.ledger.live(&id("y")).unwrap();
    let (op, reason) = (SessionOp::CreateOffer, "model".into());
    room.session("y", generation, SessionEvent::Failed { op, reason });
    room.pass(ms(5000));
    assert_eq!(negotiation_errors(&room), 1);
    for peer in ["y", "z"] {
        let sent = room.sent_to(peer);
        assert!(
            sent.iter().any(|data| data.to_string().contains("msid:s2 t2")),
            "{peer}"
        );
    }
}

/// The track itself is fine: it is sent, without what is too big for a frame, and a warning says so.
#[test]
fn c157_oversized_metadata_is_told_when_the_track_is_added() {
    let mut room = Harness::joined(&["y", "z"]);
    room.input(RoomInput::AddTrack(audio(1), bag(&"x".repeat(70_000))));
    room.pass(ms(1000));
    let warnings = room
        .events
        .iter()
        .filter(|event| matches!(event, RoomEvent::Warning { .. }));
    assert_eq!(warnings.count(), 1);
    for peer in ["y", "z"] {
        let words = format!("send send {peer} meta");
        assert!(room.log_of(&[&words]).is_empty());
        assert_eq!(room.log_of(&[&format!("send send {peer} offer")]).len(), 1);
    }
    assert_eq!(room.ledger.state, RoomState::Joined);
}

/// The service's limit is for its clients; what it lets through may be kept. What bounds our memory is a megabyte for
/// all tracks of a peer.
#[test]
fn c158_a_bag_that_is_too_big_is_dropped() {
    let mut room = Harness::joined(&["a"]);
    let meta =
        |size: usize| json!({"__meteredTrackMeta": {"trackId": "t1", "metadata": {"x": vec![0; size]}}});
    room.direct("a", meta(1000));
    assert_eq!(room.room.peers[&id("a")].tracks.len(), 1);
    room.direct("a", meta(100_000));
    assert!(room.room.peers[&id("a")].tracks.is_empty());
    assert!(room.events.is_empty());
}
