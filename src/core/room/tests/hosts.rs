//! Candidates that hide their address behind a `.local` name.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::harness::Harness;
use super::id;
use crate::core::events::RoomInput;
use crate::core::io::{NetInput, SessionCommand};

fn hidden(host: &str) -> Value {
    let line = format!("candidate:1 1 udp 2122260223 {host} 50412 typ host");
    json!({"type": "rtc-ice", "candidate": {"candidate": line, "sdpMid": null, "sdpMLineIndex": 0}})
}

fn given(room: &Harness) -> Vec<String> {
    let candidate = |(_, _, command): &(_, _, SessionCommand)| match command {
        SessionCommand::AddCandidate { candidate, .. } => Some(candidate.clone()),
        _ => None,
    };
    room.commands.iter().filter_map(candidate).collect()
}

fn address() -> Vec<IpAddr> {
    vec![IpAddr::from([192, 0, 2, 9]), IpAddr::from([192, 0, 2, 10])]
}

fn with_session() -> Harness {
    let mut room = Harness::joined(&["a"]);
    room.direct("a", super::signals::offer());
    room.forget();
    room
}

#[test]
fn the_name_is_asked_for_and_replaced() {
    let mut room = with_session();
    room.direct("a", hidden("0a1b-c2.local"));
    assert_eq!(room.log, ["resolve 0a1b-c2.local"]);
    let question = room.questions()[0];
    room.net(NetInput::Resolved(question, address()));
    room.net(NetInput::Resolved(question, address()));
    assert_eq!(
        given(&room),
        ["candidate:1 1 udp 2122260223 192.0.2.9 50412 typ host"]
    );
}

#[test]
fn without_an_address_the_candidate_is_dropped() {
    let mut room = with_session();
    room.direct("a", hidden("x.local"));
    let question = room.questions()[0];
    room.net(NetInput::Resolved(question, Vec::new()));
    room.net(NetInput::Resolved(question + 7, address()));
    assert!(given(&room).is_empty());
}

#[test]
fn questions_are_bounded() {
    let mut room = with_session();
    for n in 0..100 {
        room.direct("a", hidden(&format!("h{n}.local")));
    }
    assert_eq!(room.questions().len(), 16);
    room.net(NetInput::Resolved(room.questions()[0], Vec::new()));
    room.direct("a", hidden("again.local"));
    assert_eq!(room.questions().len(), 17);
}

#[test]
fn the_end_of_candidates_comes_after_them() {
    let mut room = with_session();
    room.direct("a", hidden("x.local"));
    room.direct("a", json!({"type": "rtc-ice", "candidate": null}));
    assert!(given(&room).is_empty());
    let question = room.questions()[0];
    room.net(NetInput::Resolved(question, address()));
    let [first, last] = &given(&room)[..] else {
        panic!("{:?}", room.log)
    };
    assert!(first.contains("192.0.2.9") && last.is_empty());
}

#[test]
fn an_answer_after_the_peer_has_left_is_for_nobody() {
    let mut room = with_session();
    room.direct("a", hidden("x.local"));
    let question = room.questions()[0];
    room.presence(&[], &["a"]);
    // Not even for the next member of that name.
    room.presence(&["a"], &[]);
    room.direct("a", super::signals::offer());
    room.commands.clear();
    room.net(NetInput::Resolved(question, address()));
    assert!(given(&room).is_empty());
    assert!(room.ledger.live(&id("a")).is_some());
}

#[test]
fn an_answer_after_we_have_left_is_nothing() {
    let mut room = with_session();
    room.direct("a", hidden("x.local"));
    let question = room.questions()[0];
    room.input(RoomInput::Leave);
    room.forget();
    room.net(NetInput::Resolved(question, address()));
    assert!(room.log.is_empty());
}
