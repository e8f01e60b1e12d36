//! Ways out.

use serde_json::json;

use super::harness::Harness;
use super::{config, id, ms};
use crate::core::client::{ClientConfig, CredentialSource};
use crate::core::events::{RoomEvent, RoomInput};
use crate::core::io::{Machine, NetInput, SocketEnd};

/// It is over, and nothing can be made of it any more.
fn over(room: &mut Harness) {
    assert!(room.ledger.has_left() && room.room.is_finished());
    assert!(
        matches!(room.events.last(), Some(RoomEvent::Left { .. })),
        "{:?}",
        room.log
    );
    assert_eq!(room.room.poll_timeout(), None);
    room.forget();
    room.presence(&["x"], &["z"]);
    room.frame(json!({"type": "error", "code": "over_message_quota"}));
    room.direct("z", super::signals::offer());
    room.input(RoomInput::Join);
    room.input(RoomInput::AddTrack(super::publishing::audio(9), None));
    room.input(RoomInput::Send(json!(1)));
    room.input(RoomInput::Leave);
    room.lost();
    room.pass(ms(600_000));
    assert!(room.log.is_empty(), "{:?}", room.log);
}

/// In the room, with a session to `z`.
fn busy() -> Harness {
    let mut room = Harness::joined(&["a", "z"]);
    room.input(RoomInput::AddTrack(super::publishing::audio(1), None));
    room.pass(ms(1000));
    assert!(room.ledger.live(&id("z")).is_some());
    room.forget();
    room
}

#[test]
fn c077_leaving_takes_everybody_along() {
    let mut room = busy();
    room.input(RoomInput::Leave);
    let expected = [
        "state Leaving",
        "a Dispose",
        "peer-state a Closed",
        "peer-left a",
        "z Dispose",
        "peer-state z Closed",
        "peer-left z",
        "state Closed",
        "left",
    ];
    let lines = room.log_of(&["state", "peer", "left", "a Dispose", "z Dispose"]);
    assert_eq!(lines, expected);
    assert_eq!(room.log_of(&["close", "send"]), ["close 1000"], "no unsubscribe");
    assert_eq!(
        room.events.last(),
        Some(&RoomEvent::Left {
            peer_id: Some(id("m"))
        })
    );
    over(&mut room);
}

#[test]
fn c076_leave_in_every_state() {
    let stages: [&dyn Fn(&mut Harness); 9] = [
        &|room| room.input(RoomInput::Join),
        &|room| room.open(),
        &|room| room.welcome("m"),
        &|room| room.ack("subscribe"),
        &|room| room.presence(&["z"], &[]),
        &|room| room.lost(),
        &|room| room.reconnect(),
        &|room| room.welcome("m2"),
        &|room| room.presence(&["z"], &[]),
    ];
    for count in 0..=stages.len() {
        let mut room = Harness::new();
        room.input(RoomInput::AddTrack(super::publishing::audio(1), None));
        for stage in &stages[..count] {
            stage(&mut room);
            room.pass(ms(300));
        }
        room.input(RoomInput::Leave);
        over(&mut room);
    }
}

#[test]
fn leaving_while_the_token_source_thinks() {
    let mut config = config(1);
    config.client = ClientConfig {
        credential: CredentialSource::TokenProvider,
        ..config.client
    };
    let mut room = Harness::with(config);
    room.input(RoomInput::Join);
    room.input(RoomInput::Leave);
    over(&mut room);
}

#[test]
fn requests_under_way_say_nothing_after_the_end() {
    let mut room = busy();
    room.input(RoomInput::Send(json!(1)));
    room.input(RoomInput::Leave);
    over(&mut room);
}

#[test]
fn early_signals_do_not_keep_a_finished_room_awake() {
    let mut room = Harness::joined(&[]);
    room.direct("stranger", super::signals::offer());
    room.input(RoomInput::Leave);
    over(&mut room);
}

#[test]
fn c099_terminal_close_codes() {
    let names = [
        (4001, "invalid_token"),
        (4003, "channel_not_authorized"),
        (4012, "account_suspended"),
        (4020, "admin_disconnect"),
    ];
    for (code, name) in names {
        let mut room = busy();
        room.input(RoomInput::Send(json!(1)));
        room.forget();
        room.closed(code);
        let fatal = format!("fatal {name}");
        let expected = [
            fatal.as_str(),
            "state Leaving",
            "peer-left a",
            "peer-left z",
            "state Closed",
            "left",
        ];
        assert_eq!(room.log_of(&["fatal", "state", "peer-left", "left"]), expected);
        over(&mut room);
    }
}

#[test]
fn a_terminal_code_while_away() {
    let mut room = busy();
    room.lost();
    room.reconnect();
    room.closed(4001);
    assert_eq!(room.codes(), ["invalid_token"]);
    over(&mut room);
}

#[test]
fn c100_errors_that_belong_to_no_request() {
    for code in [
        "account_suspended",
        "channel_not_authorized",
        "action_not_permitted",
        "invalid_token",
        "token_expired",
    ] {
        let mut room = busy();
        room.frame(json!({"type": "error", "code": code, "message": "server words"}));
        assert_eq!(room.codes(), [code]);
        assert!(room.log.contains(&format!("fatal {code}")));
        over(&mut room);
    }
    let mut room = busy();
    room.frame(json!({"type": "error", "code": "over_message_quota", "message": "words"}));
    assert_eq!(room.log, ["error over_message_quota"]);
}

#[test]
fn c074_a_refused_subscription_is_fatal_with_advice() {
    let mut room = Harness::new();
    room.input(RoomInput::Join);
    room.open();
    room.welcome("m");
    room.refuse("subscribe", "channel_not_authorized");
    let fatal = room.events.iter().any(|event| {
        matches!(event, RoomEvent::Fatal { code, text } if code == "channel_not_authorized" && text.contains("studio"))
    });
    assert!(
        fatal
            && !room
                .events
                .iter()
                .any(|event| matches!(event, RoomEvent::Joined { .. }))
    );
    over(&mut room);
}

#[test]
fn a_subscription_that_is_refused_again_and_again_after_a_reconnect_is_fatal() {
    let mut room = busy();
    room.lost();
    room.reconnect();
    room.welcome("m");
    for _ in 0..4 {
        assert!(room.codes().is_empty());
        room.refuse("subscribe", "channel_limit_exceeded");
        room.pass(ms(2100));
    }
    assert_eq!(room.codes(), ["channel_limit_exceeded"]);
    over(&mut room);
}

#[test]
fn a_first_connect_that_fails_is_fatal() {
    let mut room = Harness::new();
    room.input(RoomInput::Join);
    let (detail, certificate) = ("no route".to_owned(), false);
    room.net(NetInput::SocketClosed(
        room.socket,
        SocketEnd::Unreachable { detail, certificate },
    ));
    assert_eq!(room.codes(), ["connect_failed"]);
    over(&mut room);
}

#[test]
fn a_first_connect_may_be_retried() {
    let mut config = config(1);
    config.client.retry_first_connect = true;
    let mut room = Harness::with(config);
    room.input(RoomInput::Join);
    room.lost();
    assert_eq!(room.log_of(&["retrying", "fatal"]), ["retrying"]);
    room.reconnect();
    room.welcome("m");
    room.ack("subscribe");
    assert_eq!(room.log_of(&["joined"]), ["joined as m"]);
}
