//! The connection to the service is lost and comes back.

use serde_json::json;

use super::harness::Harness;
use super::{bag, config, id, ms};
use crate::core::events::{RoomEvent, RoomInput, RoomState};
use crate::core::io::{ConnectionState, SessionCommand, SessionEvent};
use crate::wire::IceServer;

/// In the room, connected to `a` and `z`, who get a track of ours.
fn connected() -> Harness {
    let mut room = Harness::joined(&["a", "z"]);
    room.input(RoomInput::AddTrack(super::publishing::audio(1), bag("mic")));
    room.pass(ms(1000));
    for peer in ["a", "z"] {
        let generation = room.ledger.live(&id(peer)).unwrap();
        room.session(
            peer,
            generation,
            SessionEvent::Connection(ConnectionState::Connected),
        );
    }
    room.forget();
    room
}

#[test]
fn c086_a_drop_keeps_peers_and_media() {
    let mut room = connected();
    room.lost();
    assert_eq!(
        room.log,
        ["retrying", "state Reconnecting"]
            .map(str::to_owned)
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
    assert_eq!(room.ledger.present.len(), 2);
    assert!(room.ledger.live(&id("a")).is_some());
}

#[test]
fn c088_alone_the_welcome_is_enough() {
    let mut room = Harness::joined(&[]);
    room.lost();
    room.reconnect();
    room.welcome("m");
    assert_eq!(room.ledger.state, RoomState::Joined);
    room.presence(&["a"], &[]);
    assert_eq!(room.log_of(&["peer-joined"]), ["peer-joined a"]);
}

#[test]
fn c089_c090_c097_departures_then_survivors_then_newcomers() {
    let mut room = connected();
    room.back_as("m");
    assert_eq!(
        room.ledger.state,
        RoomState::Reconnecting,
        "the ack is not the snapshot"
    );
    room.presence(&["b", "z"], &[]);
    let expected = [
        "a Dispose",
        "peer-left a",
        "peer-joined b",
        "z Dispose",
        "peer-state z Reconnecting",
        "reset z",
        "state Joined",
    ];
    let mut lines = room.log_of(&[
        "a Dispose",
        "z Dispose",
        "peer-left",
        "peer-joined",
        "peer-state z",
        "reset",
    ]);
    lines.push("state Joined");
    assert_eq!(lines, expected);
    room.forget();
    room.pass(ms(1000));
    // `connecting` is hidden while reconnecting.
    assert_eq!(
        room.log_of(&["peer-state z", "z Create", "z CreateOffer", "send send z offer"]),
        ["z Create", "z CreateOffer", "send send z offer"]
    );
    let generation = room.ledger.live(&id("z")).unwrap();
    room.session(
        "z",
        generation,
        SessionEvent::Connection(ConnectionState::Connected),
    );
    // The model has no remote description, but the room does not ask.
    assert_eq!(room.log_of(&["peer-state z"]), ["peer-state z Connected"]);
}

#[test]
fn c091_c092_once_each_and_metadata_first() {
    let mut room = connected();
    room.back_as("m");
    room.forget();
    let entry = json!({"peerId": "z", "metadata": {"label": "new"}});
    room.frame(json!({"type": "presence", "channel": "studio", "joined": [entry, entry, {"peerId": "a"}], "left": []}));
    let lines = room.log_of(&["peer-metadata", "reset"]);
    assert_eq!(lines, ["peer-metadata z", "reset z", "reset a"]);
}

#[test]
fn survivors_hear_of_our_tracks_again_metadata_first() {
    let mut room = connected();
    room.back_as("m");
    room.forget();
    room.presence(&["a", "z"], &[]);
    room.pass(ms(1000));
    for peer in ["a", "z"] {
        let lines = room.log_of(&[
            &format!("send send {peer} meta"),
            &format!("send send {peer} offer"),
        ]);
        assert_eq!(
            lines,
            [
                format!("send send {peer} meta"),
                format!("send send {peer} offer")
            ]
        );
    }
}

#[test]
fn c087_idle_peers_stay_idle() {
    let mut room = Harness::joined(&["a"]);
    room.back_as("m");
    room.presence(&["a"], &[]);
    room.pass(ms(60_000));
    assert!(
        room.log_of(&["peer-state", "a Create"]).is_empty(),
        "{:?}",
        room.log
    );
}

#[test]
fn c098_only_the_last_presence_reconciles() {
    let mut room = connected();
    room.back_as("m");
    room.back_as("m");
    room.presence(&["z"], &[]);
    assert_eq!(room.log_of(&["peer-left", "reset"]), ["peer-left a", "reset z"]);
    room.forget();
    room.presence(&["q"], &[]);
    assert_eq!(
        room.log_of(&["peer", "reset"]),
        ["peer-joined q"],
        "afterwards it is news again"
    );
}

#[test]
fn c095_c102_the_list_is_asked_for_again_with_the_options_of_the_join() {
    let mut config = config(7);
    config.include_sender_metadata = true;
    let mut room = Harness::joined_with(config, &["a"]);
    room.back_as("m");
    room.forget();
    room.pass(ms(9_900));
    assert!(room.log_of(&["send subscribe"]).is_empty());
    room.pass(ms(200));
    assert_eq!(room.log_of(&["send subscribe"]).len(), 1);
    assert_eq!(room.sent()[0]["includeSenderMetadata"], true);
    room.pass(ms(10_000));
    assert_eq!(room.log_of(&["send subscribe"]).len(), 2);
    assert!(room.codes().is_empty());
    room.pass(ms(10_000));
    assert_eq!(room.codes(), ["reconcile_timeout"]);
    assert_eq!(room.ledger.state, RoomState::Reconnecting);
}

#[test]
fn c096_a_list_that_comes_late_is_still_the_list() {
    let mut room = connected();
    room.back_as("m");
    room.pass(ms(31_000));
    assert_eq!(room.codes(), ["reconcile_timeout"]);
    // It is asked for until it comes, and said once that it does not.
    for _ in 0..3 {
        room.ack("subscribe");
        room.forget();
        room.pass(ms(30_000));
        assert_eq!(room.log_of(&["send subscribe"]).len(), 1);
        assert!(room.codes().is_empty());
    }
    room.presence(&["z"], &[]);
    assert_eq!(room.log_of(&["peer-left", "reset"]), ["peer-left a", "reset z"]);
    assert_eq!(room.ledger.state, RoomState::Joined);
    room.forget();
    room.pass(ms(60_000));
    assert!(room.log_of(&["send subscribe"]).is_empty());
}

#[test]
fn a_change_is_not_taken_for_the_list() {
    let mut room = connected();
    room.lost();
    room.reconnect();
    room.welcome("m");
    // Before the ack, and with somebody leaving, it cannot be the list.
    room.presence(&["q"], &[]);
    room.ack("subscribe");
    room.presence(&["r"], &["q"]);
    assert_eq!(
        room.log_of(&["peer-left", "peer-joined"]),
        ["peer-joined q", "peer-joined r", "peer-left q"]
    );
    assert_eq!(room.ledger.state, RoomState::Reconnecting);
    room.presence(&["a", "z", "r"], &[]);
    assert_eq!(room.log_of(&["reset"]), ["reset a", "reset z", "reset r"]);
}

#[test]
fn a_drop_while_waiting_for_the_list_starts_over() {
    let mut room = connected();
    room.back_as("m");
    room.pass(ms(19_000));
    room.back_as("m");
    room.forget();
    room.pass(ms(9_500));
    assert!(room.log_of(&["send subscribe"]).is_empty());
    room.pass(ms(15_000));
    assert!(room.codes().is_empty(), "a new connection has a new budget");
}

/// With a publishable key every connection has a new id, and a server that has not noticed the end of the old one
/// lists both.
#[test]
fn our_own_ghost_is_no_peer() {
    let mut room = connected();
    room.back_as("m2");
    room.presence(&["a", "m", "m2", "z"], &[]);
    assert_eq!(room.log_of(&["peer-joined"]).len(), 0);
    room.presence(&[], &["m"]);
    assert_eq!(room.log_of(&["peer-left"]).len(), 0);
    // Once it has gone, the name is anybody's.
    room.presence(&["m"], &[]);
    assert_eq!(room.log_of(&["peer-joined"]), ["peer-joined m"]);
}

#[test]
fn a_ghost_that_a_list_does_not_know_is_gone() {
    let mut room = connected();
    room.back_as("m2");
    room.presence(&["a", "z"], &[]);
    room.presence(&["m"], &[]);
    assert_eq!(room.log_of(&["peer-joined"]), ["peer-joined m"]);
    // And our old id may become ours again.
    room.back_as("m");
    room.presence(&["a", "m", "m2"], &[]);
    room.forget();
    room.presence(&["m2"], &["m2"]);
    assert!(
        room.log_of(&["peer-joined", "peer-left"]).is_empty(),
        "{:?}",
        room.log
    );
}

#[test]
fn a_new_id_flips_politeness() {
    let mut room = connected();
    room.back_as("b");
    room.presence(&["a", "z", "c"], &[]);
    // Polite sides offer sooner: towards a we are impolite now, towards z still polite.
    room.forget();
    room.pass(ms(300));
    assert_eq!(
        room.log_of(&["send send a offer", "send send z offer", "send send c offer"]),
        ["send send c offer", "send send z offer"]
    );
    room.back_as("zz");
    room.presence(&["a", "z"], &[]);
    room.forget();
    room.pass(ms(300));
    assert_eq!(room.log_of(&["send send"]).len(), 0);
    room.pass(ms(300));
    assert_eq!(room.log_of(&["send send z offer"]).len(), 1);
}

#[test]
fn our_new_id_was_a_peers() {
    let mut room = connected();
    room.back_as("a");
    room.presence(&["a", "z"], &[]);
    assert_eq!(room.log_of(&["peer-left", "reset"]), ["peer-left a", "reset z"]);
}

fn servers(room: &Harness) -> Vec<Vec<IceServer>> {
    let create = |(_, _, command): &(_, _, SessionCommand)| match command {
        SessionCommand::Create(config) => Some(config.ice_servers.clone()),
        _ => None,
    };
    room.commands.iter().filter_map(create).collect()
}

fn welcome_with(room: &mut Harness, url: &str) {
    let metadata = json!({"iceServers": [{"urls": [url], "username": "u", "credential": "c"}]});
    room.frame(json!({"type": "welcome", "peerId": "m", "serverTime": 1, "expiresAt": null, "maxMessageSize": 65536, "metadata": metadata}));
    room.ack("subscribe");
}

#[test]
fn the_newest_ice_servers_reach_the_next_session() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(super::publishing::audio(1), None));
    room.lost();
    room.reconnect();
    welcome_with(&mut room, "turn:one.example:3478");
    room.presence(&["z"], &[]);
    room.pass(ms(1000));
    room.lost();
    room.reconnect();
    welcome_with(&mut room, "turn:two.example:3478");
    room.presence(&["z"], &[]);
    room.pass(ms(1000));
    // A welcome without servers leaves the former ones in place.
    room.back_as("m");
    room.presence(&["z"], &[]);
    room.pass(ms(1000));
    let urls: Vec<String> = servers(&room)
        .into_iter()
        .map(|list| {
            list.first()
                .map(|server| server.urls[0].clone())
                .unwrap_or_default()
        })
        .collect();
    let [one, two] = ["turn:one.example:3478", "turn:two.example:3478"];
    assert_eq!(urls, ["", one, two, two]);
}

#[test]
fn the_applications_ice_servers_stay() {
    let mut config = config(1);
    let own = IceServer {
        urls: vec!["stun:own.example".into()],
        username: None,
        credential: None,
    };
    config.ice_servers = Some(vec![own.clone()]);
    let mut room = Harness::joined_with(config, &["z"]);
    room.input(RoomInput::AddTrack(super::publishing::audio(1), None));
    room.lost();
    room.reconnect();
    welcome_with(&mut room, "turn:one.example:3478");
    room.presence(&["z"], &[]);
    room.pass(ms(1000));
    assert_eq!(servers(&room), [vec![own.clone()], vec![own]]);
}

#[test]
fn c150_what_a_peer_said_about_its_tracks_outlives_a_swap() {
    let mut room = Harness::joined(&["a"]);
    room.direct(
        "a",
        json!({"__meteredTrackMeta": {"trackId": "t1", "metadata": {"label": "mic"}}}),
    );
    room.back_as("m");
    room.presence(&["a"], &[]);
    room.direct("a", super::signals::offer());
    let RoomEvent::TrackAdded { metadata, .. } = super::signals::arrive(&mut room, "a") else {
        panic!()
    };
    assert_eq!(metadata, bag("mic"));
    room.presence(&[], &["a"]);
    room.presence(&["a"], &[]);
    room.direct("a", super::signals::offer());
    let RoomEvent::TrackAdded { metadata, .. } = super::signals::arrive(&mut room, "a") else {
        panic!()
    };
    assert_eq!(metadata, None);
}

#[test]
fn a_receiver_asks_a_peer_that_has_noticed_nothing() {
    let mut room = Harness::joined(&["a"]);
    room.direct("a", super::signals::offer());
    let generation = room.ledger.live(&id("a")).unwrap();
    room.session(
        "a",
        generation,
        SessionEvent::Connection(ConnectionState::Connected),
    );
    room.back_as("m");
    room.presence(&["a"], &[]);
    room.forget();
    room.pass(ms(1900));
    assert!(room.sent_to("a").is_empty(), "it may have noticed");
    room.pass(ms(200));
    assert_eq!(room.log_of(&["send send a offer"]).len(), 1);
}
