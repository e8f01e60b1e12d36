//! The application's messages.

use serde_json::json;

use super::bag;
use super::harness::Harness;
use crate::core::events::{DataKind, RoomEvent, RoomInput};

fn data(from: &str, known: bool, kind: DataKind) -> RoomEvent {
    let (from, data) = (from.to_owned(), json!({"n": 1}));
    RoomEvent::Data {
        from,
        known,
        kind,
        data,
        metadata: None,
    }
}

fn broadcast(from: &str) -> serde_json::Value {
    json!({"type": "message", "channel": "studio", "from": from, "data": {"n": 1}})
}

#[test]
fn c081_broadcasts_of_strangers_are_delivered_and_flagged() {
    let mut room = Harness::joined(&["a"]);
    room.frame(broadcast("a"));
    room.frame(broadcast("backend job #1"));
    let expected = [
        data("a", true, DataKind::Broadcast),
        data("backend job #1", false, DataKind::Broadcast),
    ];
    assert_eq!(room.events, expected);
}

#[test]
fn c080_our_own_are_not() {
    let mut room = Harness::joined(&["a"]);
    room.frame(broadcast("m"));
    assert!(room.events.is_empty());
}

#[test]
fn c081_directs_of_strangers_are_dropped() {
    let mut room = Harness::joined(&["a"]);
    room.direct("stranger", json!({"n": 1}));
    room.direct("a", json!({"n": 1}));
    assert_eq!(room.events, [data("a", true, DataKind::Direct)]);
    // Not even later.
    room.presence(&["stranger"], &[]);
    assert_eq!(room.log_of(&["Data"]).len(), 1);
}

#[test]
fn the_senders_metadata_comes_along() {
    let mut room = Harness::joined(&["a"]);
    room.frame(json!({"type": "direct", "from": "a", "fromMetadata": {"label": "x"}, "data": 1}));
    let RoomEvent::Data { metadata, .. } = &room.events[0] else {
        panic!()
    };
    assert_eq!(*metadata, bag("x"));
}

#[test]
fn what_is_sent_reaches_the_wire() {
    let mut room = Harness::joined(&["a"]);
    room.input(RoomInput::Send(json!({"n": 1})));
    room.input(RoomInput::SendTo("stranger".into(), json!(2)));
    let sent = room.sent();
    assert_eq!(
        (&sent[0]["type"], &sent[0]["channel"], &sent[0]["data"]),
        (&json!("publish"), &json!("studio"), &json!({"n": 1}))
    );
    assert_eq!(
        (&sent[1]["type"], &sent[1]["to"], &sent[1]["data"]),
        (&json!("send"), &json!("stranger"), &json!(2))
    );
    room.refuse("send", "peer_not_found");
    assert_eq!(room.codes(), ["peer_not_found"]);
}

#[test]
fn c078_only_while_joined() {
    let mut room = Harness::new();
    let send = |room: &mut Harness| {
        room.forget();
        room.input(RoomInput::Send(json!(1)));
        room.input(RoomInput::SendTo("a".into(), json!(1)));
        assert_eq!(room.codes(), ["not_joined", "not_joined"]);
        assert!(room.sent().is_empty());
    };
    send(&mut room);
    room.input(RoomInput::Join);
    send(&mut room);
    let mut room = Harness::joined(&["a"]);
    room.lost();
    send(&mut room);
}

#[test]
fn c079_to_nobody_and_to_ourselves() {
    let mut room = Harness::joined(&["a"]);
    room.input(RoomInput::SendTo("m".into(), json!(1)));
    room.input(RoomInput::SendTo(String::new(), json!(1)));
    room.input(RoomInput::SendTo("x".repeat(129), json!(1)));
    assert_eq!(room.codes(), ["self_send", "invalid_args", "invalid_args"]);
    assert!(room.sent().is_empty());
}

#[test]
fn too_large() {
    let mut room = Harness::joined(&["a"]);
    room.input(RoomInput::Send(json!("x".repeat(65_536))));
    room.input(RoomInput::SendTo("a".into(), json!("x".repeat(65_536))));
    assert_eq!(room.codes(), ["oversized", "oversized"]);
}

#[test]
fn what_is_lost_with_the_connection_is_told() {
    let mut room = Harness::joined(&["a"]);
    room.input(RoomInput::Send(json!(1)));
    room.lost();
    assert_eq!(room.codes(), ["disconnected"]);
}
