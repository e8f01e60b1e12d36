//! Coming in, and who else is there.

use serde_json::json;

use super::harness::Harness;
use super::{bag, config, id, ms};
use crate::core::events::{RoomEvent, RoomInput, RoomState};
use crate::core::io::{Machine, NetInput};

#[test]
fn c073_subscribes_after_the_welcome_and_is_joined_at_the_ack() {
    let mut room = Harness::new();
    room.input(RoomInput::Join);
    room.open();
    assert_eq!(room.log, ["open", "state Joining"]);
    room.welcome("m");
    let subscribe = room.sent().pop().unwrap();
    assert_eq!(subscribe["channel"], "studio");
    assert_eq!(subscribe["includeSenderMetadata"], true);
    room.ack("subscribe");
    room.presence(&["a", "z"], &[]);
    let rest = [
        "send subscribe",
        "state Joined",
        "joined as m",
        "peer-joined a",
        "peer-joined z",
    ];
    assert_eq!(room.log[2..], rest);
    let joined = RoomEvent::Joined {
        peer_id: id("m"),
        channel: "studio".into(),
    };
    assert!(room.events.contains(&joined));
}

#[test]
fn c072_a_snapshot_before_the_ack_loses_nobody() {
    let mut room = Harness::new();
    room.input(RoomInput::Join);
    room.open();
    room.welcome("m");
    room.presence(&["a"], &[]);
    room.ack("subscribe");
    assert_eq!(room.log_of(&["joined", "peer"]), ["joined as m", "peer-joined a"]);
}

#[test]
fn c071_a_second_join_is_nothing() {
    let mut room = Harness::joined(&["a"]);
    room.input(RoomInput::Join);
    assert!(room.log.is_empty());
}

#[test]
fn c083_c085_ourselves_duplicates_and_strangers() {
    let mut room = Harness::joined(&["a", "m", "a"]);
    room.presence(&["a", "m"], &["nobody"]);
    assert!(room.log.is_empty());
    room.presence(&["b"], &["a"]);
    assert_eq!(
        room.log_of(&["peer-joined", "peer-left"]),
        ["peer-joined b", "peer-left a"]
    );
    assert!(room.sent().is_empty(), "c113: nothing to say, nothing said");
}

#[test]
fn c084_max_peers() {
    let mut config = config(1);
    config.max_peers = 2;
    let mut room = Harness::joined_with(config, &["a", "b"]);
    room.presence(&["c"], &[]);
    assert_eq!(room.log, ["error max_peers"]);
    room.forget();
    // Not retried when there is room again, and unknown when it leaves.
    room.presence(&[], &["a"]);
    room.presence(&[], &["c"]);
    assert_eq!(room.log_of(&["peer-left", "peer-joined"]), ["peer-left a"]);
}

#[test]
fn other_channels_are_ignored() {
    let mut room = Harness::joined(&[]);
    room.frame(json!({"type": "presence", "channel": "other", "joined": [{"peerId": "a"}], "left": []}));
    room.frame(json!({"type": "message", "channel": "other", "from": "a", "data": 1}));
    assert!(room.log.is_empty());
}

#[test]
fn new_metadata_of_a_member_is_told_and_the_connection_kept() {
    let mut room = Harness::joined(&["a"]);
    let joined = json!([{"peerId": "a", "metadata": {"label": "new"}}]);
    room.frame(json!({"type": "presence", "channel": "studio", "joined": joined, "left": []}));
    assert_eq!(room.events, [RoomEvent::PeerMetadata(id("a"), bag("new"))]);
}

#[test]
fn c075_a_drop_while_joining_is_made_good_by_the_snapshot() {
    let mut room = Harness::new();
    room.input(RoomInput::Join);
    room.open();
    room.welcome("m");
    room.back_as("m2");
    assert_eq!(room.ledger.state, RoomState::Joining);
    room.presence(&["a"], &[]);
    assert_eq!(
        room.log_of(&["joined", "peer"]),
        ["joined as m2", "peer-joined a"]
    );
}

#[test]
fn a_subscription_without_an_answer_is_tried_again() {
    let mut room = Harness::new();
    room.input(RoomInput::Join);
    room.open();
    room.welcome("m");
    room.pass(ms(16_000));
    assert_eq!(room.log_of(&["send subscribe"]).len(), 2);
    room.ack("subscribe");
    assert_eq!(room.ledger.state, RoomState::Joined);
    assert!(!room.room.is_finished());
}

#[test]
fn a_member_that_comes_again_never_reuses_a_generation() {
    let mut room = Harness::joined(&["z"]);
    room.input(RoomInput::AddTrack(super::publishing::audio(1), None));
    room.pass(ms(1000));
    let first = room.ledger.live(&id("z")).unwrap();
    room.presence(&[], &["z"]);
    room.presence(&["z"], &[]);
    room.pass(ms(1000));
    let second = room.ledger.live(&id("z")).unwrap();
    assert!(first < second);
    // The last words of the old session mean nothing to the new one.
    room.forget();
    let state = crate::core::io::ConnectionState::Connected;
    room.session("z", first, crate::core::io::SessionEvent::Connection(state));
    assert!(room.log.is_empty());
}

#[test]
fn a_list_of_ice_servers_that_is_refused_is_told() {
    let warnings = |servers: serde_json::Value| {
        let mut room = Harness::new();
        room.input(RoomInput::Join);
        room.open();
        room.frame(json!({
            "type": "welcome", "peerId": "m", "serverTime": 1, "maxMessageSize": 65536,
            "metadata": {"iceServers": servers},
        }));
        let warning = |event: &&RoomEvent| matches!(event, RoomEvent::Warning { .. });
        room.events.iter().filter(warning).count()
    };
    assert_eq!(warnings(json!([{"urls": "stun:a"}, {"urls": "http:b"}])), 1);
    assert_eq!(warnings(json!([{"urls": "stun:a"}, {"urls": "stun:b"}])), 0);
    assert_eq!(warnings(json!([])), 0);
}

#[test]
fn other_addresses_of_this_machine_probe_the_service() {
    let mut room = Harness::joined(&[]);
    let addresses = vec![[10, 0, 0, 9].into()];
    room.net(NetInput::AddressesChanged(addresses.clone()));
    assert_eq!(room.sent().last().unwrap()["type"], "ping");
    room.frame(json!({"type": "pong"}));
    room.pass(ms(10_000));
    assert_eq!(room.log_of(&["state", "close"]), [""; 0]);
    room.net(NetInput::AddressesChanged(addresses));
    room.pass(ms(4_000));
    assert_eq!(room.log_of(&["state"]), ["state Reconnecting"]);
}
